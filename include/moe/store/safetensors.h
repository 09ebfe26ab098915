#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "moe/base/file_reader.h"

namespace moe {

/// One tensor of a safetensors file; [begin, end) are bytes after the header.
struct TensorInfo {
  std::string name;
  std::string dtype;  // "F32", "F64", "F16", "BF16", "I64", ...
  std::vector<std::int64_t> shape;
  std::uint64_t begin = 0, end = 0;
};

/// The header of a safetensors file and where its data begins.
struct SafetensorsHeader {
  std::vector<TensorInfo> tensors;  // by offset
  std::uint64_t data_begin = 0;
};

/// Reads a file's header, and no more of the file than that. Refuses, before anything is allocated
/// for tensors: a header length of 0 or beyond the file, deep or duplicate JSON, non-string
/// metadata, unknown dtypes, shapes whose product overflows or does not fit the offsets, overlap,
/// holes, trailing bytes. A file of another known kind is named, with what makes a safetensors file
/// of it. Throws CheckpointError beginning with `where`.
SafetensorsHeader read_safetensors(const FileReader& file, std::string_view where);
/// The same of a file of `size` bytes that begins with `front`, which has all of its header.
SafetensorsHeader parse_safetensors(std::string_view front, std::uint64_t size,
                                    std::string_view where);

/// Header bytes (length and JSON, padded to 8 with spaces) for tensors in this order; offsets are
/// filled in. Order as the reference writer's: descending dtype size, then name. `format`, where
/// given, is that of the metadata, which transformers wants to be "pt".
std::string write_safetensors_header(std::span<TensorInfo> tensors, std::string_view format = {});

}  // namespace moe
