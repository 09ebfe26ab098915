#pragma once

#include <cstdint>
#include <string>
#include <string_view>

namespace moe::tracking {

/// CRC-32C (Castagnoli; RFC 3720, appendix B.4, has test vectors).
std::uint32_t crc32c(std::string_view bytes);

/// Appends `payload` as one record of an event file: its length as 8 bytes, their masked CRC, the
/// payload, its masked CRC; all little-endian.
void append_record(std::string& out, std::string_view payload);

}  // namespace moe::tracking
