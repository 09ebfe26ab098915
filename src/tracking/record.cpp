#include "tracking/record.h"

#include <array>

namespace moe::tracking {

namespace {

constexpr auto kTable = [] {
  constexpr std::uint32_t kPolynomial = 0x82F63B78U;  // 0x1EDC6F41 with its bits reversed
  std::array<std::uint32_t, 256> table{};
  for (std::uint32_t i = 0; i < table.size(); ++i) {
    auto crc = i;
    for (int bit = 0; bit < 8; ++bit) crc = (crc >> 1U) ^ ((crc & 1U) != 0 ? kPolynomial : 0U);
    table[i] = crc;
  }
  return table;
}();

/// A checksum over bytes that hold checksums is weak: the format turns it and adds a constant.
std::uint32_t masked(std::uint32_t crc) { return ((crc >> 15U) | (crc << 17U)) + 0xA282EAD8U; }

template <class Unsigned>
std::string little_endian(Unsigned value) {
  std::string bytes;
  for (std::size_t i = 0; i < sizeof value; ++i)
    bytes.push_back(static_cast<char>((value >> (8 * i)) & 0xFFU));
  return bytes;
}

}  // namespace

std::uint32_t crc32c(std::string_view bytes) {
  auto crc = ~std::uint32_t{0};
  for (const auto byte : bytes)
    crc = (crc >> 8U) ^ kTable[(crc ^ static_cast<unsigned char>(byte)) & 0xFFU];
  return ~crc;
}

void append_record(std::string& out, std::string_view payload) {
  const auto length = little_endian(static_cast<std::uint64_t>(payload.size()));
  out += length;
  out += little_endian(masked(crc32c(length)));
  out += payload;
  out += little_endian(masked(crc32c(payload)));
}

}  // namespace moe::tracking
