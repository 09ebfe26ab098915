#include "moe/base/random.h"

#include <stdexcept>

namespace moe {

namespace {

/// The finaliser of SplitMix64 (Steele et al. 2014): a bijection that mixes all bits.
std::uint64_t mix(std::uint64_t value) {
  value = (value ^ (value >> 30U)) * 0xBF58476D1CE4E5B9ULL;
  value = (value ^ (value >> 27U)) * 0x94D049BB133111EBULL;
  return value ^ (value >> 31U);
}

}  // namespace

std::uint64_t stream_key(std::uint64_t seed, std::string_view stream, std::uint64_t index) {
  auto key = mix(seed + 0x9E3779B97F4A7C15ULL);
  for (const char c : stream) key = mix(key ^ static_cast<unsigned char>(c));
  return mix(key + index * 0x9E3779B97F4A7C15ULL);
}

std::uint64_t Generator::bits() {
  const auto counter = position_++;
  const auto drawn = philox4x32(
      {static_cast<std::uint32_t>(counter), static_cast<std::uint32_t>(counter >> 32U), 0, 0},
      key_);
  return (std::uint64_t{drawn[0]} << 32U) | drawn[1];
}

double Generator::uniform() { return static_cast<double>(bits() >> 11U) * 0x1p-53; }

std::uint64_t Generator::below(std::uint64_t bound) {
  if (bound == 0) throw std::logic_error("Generator::below: the bound is 0");
  __extension__ using Wide = unsigned __int128;
  return static_cast<std::uint64_t>((static_cast<Wide>(bits()) * bound) >> 64U);
}

}  // namespace moe
