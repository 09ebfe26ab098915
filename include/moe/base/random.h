#pragma once

#include <array>
#include <cmath>
#include <cstdint>
#include <numbers>
#include <string_view>

namespace moe {

/// A counter block and its four 32-bit draws.
using Philox4 = std::array<std::uint32_t, 4>;

/// Philox 4x32-10 (Salmon et al. 2011, "Parallel random numbers: as easy as 1, 2, 3"): a keyed
/// bijection of the counter, so that any draw can be made alone, in any order, on any thread.
inline Philox4 philox4x32(Philox4 counter, std::uint64_t key) {
  auto k0 = static_cast<std::uint32_t>(key);
  auto k1 = static_cast<std::uint32_t>(key >> 32U);
  for (int round = 0; round < 10; ++round) {
    const std::uint64_t p0 = std::uint64_t{0xD2511F53U} * counter[0];
    const std::uint64_t p1 = std::uint64_t{0xCD9E8D57U} * counter[2];
    counter = {
        static_cast<std::uint32_t>(p1 >> 32U) ^ counter[1] ^ k0, static_cast<std::uint32_t>(p1),
        static_cast<std::uint32_t>(p0 >> 32U) ^ counter[3] ^ k1, static_cast<std::uint32_t>(p0)};
    k0 += 0x9E3779B9U;
    k1 += 0xBB67AE85U;
  }
  return counter;
}

/// The key of the named stream: streams of one seed, and the same stream at another `index` (an
/// update, a sample), are independent of one another.
std::uint64_t stream_key(std::uint64_t seed, std::string_view stream, std::uint64_t index = 0);

/// (0, 1), never 0: safe under a logarithm.
inline double open_uniform(std::uint32_t bits) { return (bits + 0.5) * 0x1p-32; }

/// Two standard normal draws from two words (Box and Muller 1958).
inline std::array<double, 2> normal_pair(std::uint32_t a, std::uint32_t b) {
  const double radius = std::sqrt(-2.0 * std::log(open_uniform(a)));
  const double angle = 2.0 * std::numbers::pi * open_uniform(b);
  return {radius * std::cos(angle), radius * std::sin(angle)};
}

/// Draws one after another from one stream. (key, position) is its whole state.
class Generator {
 public:
  explicit Generator(std::uint64_t key, std::uint64_t position = 0)
      : key_(key), position_(position) {}

  /// 64 random bits.
  std::uint64_t bits();
  /// [0, 1) with 53 bits.
  double uniform();
  /// [0, bound); `bound` must be positive. One draw each, always (bias below bound / 2^64).
  std::uint64_t below(std::uint64_t bound);

  std::uint64_t key() const { return key_; }
  std::uint64_t position() const { return position_; }

 private:
  std::uint64_t key_;
  std::uint64_t position_;  // draws of 64 bits made so far
};

}  // namespace moe
