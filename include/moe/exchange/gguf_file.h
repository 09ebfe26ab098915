#pragma once

#include <cstdint>
#include <functional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

#include "moe/base/file.h"
#include "moe/base/file_reader.h"
#include "moe/exchange/ggml_type.h"

namespace moe {

// GGUF, version 3: the file that llama.cpp runs. Typed keys with values, then where each tensor
// lies, then the tensors. Little-endian throughout.

/// Values of one type. The place of an alternative is its number in files; 9, a list of lists, is
/// read by nobody.
using GgufList =
    std::variant<std::vector<std::uint8_t>, std::vector<std::int8_t>, std::vector<std::uint16_t>,
                 std::vector<std::int16_t>, std::vector<std::uint32_t>, std::vector<std::int32_t>,
                 std::vector<float>, std::vector<bool>, std::vector<std::string>, std::monostate,
                 std::vector<std::uint64_t>, std::vector<std::int64_t>, std::vector<double>>;
/// A value of a key; again the place of an alternative is its number in files.
using GgufValue = std::variant<std::uint8_t, std::int8_t, std::uint16_t, std::int16_t,
                               std::uint32_t, std::int32_t, float, bool, std::string, GgufList,
                               std::uint64_t, std::int64_t, double>;

/// The keys of a file in their order.
class GgufKeys {
 public:
  using Entry = std::pair<std::string, GgufValue>;

  /// `key` is not there yet.
  void add(std::string key, GgufValue value);
  /// nullptr where the key is not there.
  const GgufValue* find(std::string_view key) const;
  const std::vector<Entry>& entries() const { return entries_; }

 private:
  std::vector<Entry> entries_;
};

/// Where a tensor lies; [begin, end) are bytes of the file.
struct GgufTensor {
  std::string name;
  std::uint32_t type = 0;           // its number in files, which need not be a GgmlType
  std::vector<std::int64_t> shape;  // outermost first, as everywhere here; files have the reverse
  std::uint64_t begin = 0, end = 0;
};

/// All of a file but the tensors' values.
struct GgufHeader {
  GgufKeys keys;
  std::vector<GgufTensor> tensors;  // as they lie in the file
};

/// Reads the keys and where the tensors lie, and none of their values. Every count is held against
/// the size of the file before anything is allocated for it. Refuses other versions and byte
/// orders, text that is not UTF-8, keys and names that stand twice, lists of lists, types that are
/// unknown, shapes that overflow, and tensors that overlap, leave holes or end beyond the file.
/// Throws CheckpointError beginning with `where`.
GgufHeader read_gguf(const FileReader& file, std::string_view where);

/// Takes values one after another, in rows.
using ValueSink = std::function<void(std::span<const float>)>;

/// A tensor to be written. `values` hands over its values, row after row, as often as it is called.
struct GgufSource {
  std::string name;
  GgmlType type = GgmlType::f32;
  std::vector<std::int64_t> shape;  // outermost first; rows are as long as `type` wants them
  std::function<void(const ValueSink&)> values;
};

/// Writes a file, piece by piece: little of it is in memory at once. std::logic_error for tensors
/// whose values are not as many as their shapes say.
void write_gguf(const GgufKeys& keys, std::span<const GgufSource> tensors, const ByteSink& sink);

/// The values of a tensor, (N) for its N places, as float32, block after block. Throws
/// CheckpointError, beginning with `where`, for a type that is none of GgmlType.
void read_gguf_values(const FileReader& file, const GgufTensor& tensor, std::string_view where,
                      const ValueSink& sink);

}  // namespace moe
