#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "moe/exchange/gguf_file.h"

namespace moe {

/// Values of a file's keys in the types that are wanted. What is of another type is refused with a
/// CheckpointError beginning with `where`; numbers may be of any whole type.
class GgufValues {
 public:
  GgufValues(const GgufKeys& keys, std::string_view where) : keys_(keys), where_(where) {}

  std::optional<std::string> text(const std::string& key) const;
  std::optional<std::int64_t> whole(const std::string& key) const;
  std::optional<double> number(const std::string& key) const;
  std::optional<bool> flag(const std::string& key) const;
  /// nullptr where the key is not there.
  const std::vector<std::string>* texts(const std::string& key) const;
  std::optional<std::vector<std::int64_t>> wholes(const std::string& key) const;
  /// Of `optional`, what a file has to have.
  template <class Value>
  Value required(Value value, const std::string& key) const {
    if (!value) refuse(key, "is missing");
    return value;
  }
  /// Throws "<where>: <key> <what>; <what to do>".
  [[noreturn]] void refuse(const std::string& key, const std::string& what) const;

 private:
  const GgufKeys& keys_;
  std::string_view where_;
};

}  // namespace moe
