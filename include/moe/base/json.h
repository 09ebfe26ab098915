#pragma once

#include <cstddef>
#include <cstdint>
#include <nlohmann/json.hpp>
#include <stdexcept>
#include <string>
#include <string_view>
#include <vector>

#include "moe/base/error.h"

namespace moe {

/// Keys keep the order in which they were written.
using Json = nlohmann::ordered_json;

/// What a text may cost before it is refused: checked while reading, before any tree is built.
struct JsonLimits {
  std::size_t max_bytes = std::size_t{16} << 20;  // [bytes]
  int max_depth = 64;                             // nested arrays and objects
};

/// Reads `text` strictly: no comments, no duplicate keys, no NaN or infinity, no numbers beyond
/// double (1e400), no UTF-8 byte-order mark, nothing after the value. Throws Error of `kind` with
/// "<where>: line L, column C: <what>; <what to do>". Where `twice` is given, keys that stand twice
/// in their object are noted there ("line L, column C: ...") and do not throw; both stay in the
/// tree.
Json parse_json(std::string_view text, std::string_view where, ErrorKind kind,
                const JsonLimits& limits = {}, std::vector<std::string>* twice = nullptr);

/// Reads and parses the file at `path`; a missing or unreadable file is an Error of `kind` too.
Json read_json(const std::string& path, ErrorKind kind, const JsonLimits& limits = {},
               std::vector<std::string>* twice = nullptr);

/// `value` as it stands in a file, for a message: cut, on one line.
std::string shown(const Json& value);

/// The integer of at least `least` under `key`. Throws Error of `kind` when `object` is no object,
/// or has none there; the message begins with `where` and ends with `remedy`.
std::int64_t json_integer(const Json& object, const std::string& key, std::int64_t least,
                          std::string_view where, std::string_view remedy, ErrorKind kind);

/// JSON text of `value`; doubles round-trip exactly; indent -1 is one line. Invalid UTF-8 in a
/// string is replaced, never thrown. NaN and infinity must not be in `value`: std::logic_error.
std::string json_text(const Json& value, int indent = -1);

}  // namespace moe
