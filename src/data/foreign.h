#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

namespace moe {

/// What a file seems to be that is no text in UTF-8, and what to do: "is compressed with gzip;
/// ...". "" where nothing speaks against it but perhaps single bytes. No more than the first
/// kForeignFront bytes are looked at.
std::string foreign_kind(std::string_view bytes);

/// What is wrong at byte `bad`, the first that is not valid UTF-8, and what to do, with a guess at
/// the encoding. `before` bytes of the file are not among `bytes`.
std::string describe_invalid_utf8(std::string_view bytes, std::size_t bad,
                                  std::uint64_t before = 0);

inline constexpr std::size_t kForeignFront = std::size_t{1} << 16U;  // [bytes]

}  // namespace moe
