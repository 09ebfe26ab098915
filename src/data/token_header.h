#pragma once

#include <cstddef>
#include <string>
#include <string_view>

#include "moe/base/file_reader.h"
#include "moe/data/token_file.h"

namespace moe {

// The header of a token file. Numbers are little-endian.
//    0  "MOETOKEN"
//    8  u32 version, 1
//   12  u32 bytes of an id, 2 or 4
//   16  u64 number of ids
//   24  u64 bytes of the header, a multiple of 4096, behind which the ids begin
//   32  u64 bytes of the JSON
//   40  sha256 of bytes 0 to 39 and of all from byte 72 to the end of the header
//   72  JSON, then spaces

inline constexpr std::string_view kTokenMagic = "MOETOKEN";
inline constexpr std::size_t kTokenHeaderUnit = 4096;
inline constexpr std::size_t kMostTokenHeader = std::size_t{64} << 20U;

/// The header as it lies in the file, of `bytes` bytes; std::logic_error where it needs more.
std::string token_header(const TokenFileInfo& info, std::size_t bytes);
/// Bytes that suffice for the header of these sources, whatever their sums and sizes.
std::size_t token_header_bytes(std::span<const std::filesystem::path> sources);

struct FoundHeader {
  TokenFileInfo info;
  std::size_t width = 0, bytes = 0;
};
/// Throws DataError, beginning with `where`.
FoundHeader read_token_header(const FileReader& file, const std::string& where);

}  // namespace moe
