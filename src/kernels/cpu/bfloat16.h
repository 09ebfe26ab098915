#pragma once

#include "kernels/cpu/vector.h"

namespace moe::kernels::cpu::MOE_LEVEL {

/// kPanel lanes of two bfloat16 each, the earlier one in the lower half.
using Pairs = Vec<std::uint32_t>;
static_assert(kVecs<float> == 1, "a row of a panel is one vector here");

[[gnu::always_inline]] inline Vec<float> earlier_halves(Pairs words) {
  return reinterpret_cast<Vec<float>>(words << 16);
}
[[gnu::always_inline]] inline Vec<float> later_halves(Pairs words) {
  constexpr std::uint32_t kLater = 0xFFFF0000;
  return reinterpret_cast<Vec<float>>(words & kLater);
}

// Rounding goes to the nearest value, ties to the even one; denormals become 0 of their sign, NaN
// stays NaN and becomes quiet: what avx512_bf16 does whatever the processor's mode. The plain twin
// rounds to the same bits; its sums keep denormals, which the instruction takes for 0.

#ifdef __AVX512BF16__

/// Of 32 consecutive values: pair i holds values 2i and 2i + 1.
[[gnu::always_inline]] inline Pairs round_consecutive(Vec<float> first, Vec<float> second) {
  return reinterpret_cast<Pairs>(_mm512_cvtne2ps_pbh(second, first));
}
/// Pair i holds earlier[i] and later[i].
[[gnu::always_inline]] inline Pairs round_side_by_side(Vec<float> earlier, Vec<float> later) {
  constexpr std::uint32_t kLater = kPanel << 16;  // the second sixteen in the upper halves
  constexpr std::uint32_t kNext = 1 + (1U << 16);
  const Pairs lanes{0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15};
  const Pairs places = lanes * kNext + kLater;
  return reinterpret_cast<Pairs>(
      _mm512_permutexvar_epi16(reinterpret_cast<__m512i>(places),
                               reinterpret_cast<__m512i>(round_consecutive(earlier, later))));
}
/// sums[i] plus the two products of the halves of `a` and b[i].
[[gnu::always_inline]] inline Vec<float> add_products(Vec<float> sums, std::uint32_t a, Pairs b) {
  const Pairs all = Pairs{} + a;
  return _mm512_dpbf16_ps(sums, reinterpret_cast<__m512bh>(all), reinterpret_cast<__m512bh>(b));
}

#else

/// The upper halves of float32 words, rounded.
[[gnu::always_inline]] inline Pairs rounded_halves(Vec<float> values) {
  constexpr std::uint32_t kMagnitude = 0x7FFFFFFF, kInfinity = 0x7F800000,
                          kLeastNormal = 0x00800000;
  constexpr std::uint32_t kSign = 0x8000, kQuiet = 0x40, kBelowHalf = 0x7FFF;
  const Pairs bits = reinterpret_cast<Pairs>(values), magnitude = bits & kMagnitude;
  const Pairs half = bits >> 16;
  const Pairs nearest = (bits + kBelowHalf + (half & 1)) >> 16;
  const Pairs finite = magnitude < kLeastNormal ? half & kSign : nearest;
  return magnitude > kInfinity ? half | kQuiet : finite;
}
[[gnu::always_inline]] inline Pairs round_side_by_side(Vec<float> earlier, Vec<float> later) {
  return rounded_halves(earlier) | rounded_halves(later) << 16;
}
[[gnu::always_inline]] inline Pairs round_consecutive(Vec<float> first, Vec<float> second) {
  return round_side_by_side(__builtin_shufflevector(first, second, 0, 2, 4, 6, 8, 10, 12, 14, 16,
                                                    18, 20, 22, 24, 26, 28, 30),
                            __builtin_shufflevector(first, second, 1, 3, 5, 7, 9, 11, 13, 15, 17,
                                                    19, 21, 23, 25, 27, 29, 31));
}
/// A product of two bfloat16 is exact in float32: only the additions round.
[[gnu::always_inline]] inline Vec<float> add_products(Vec<float> sums, std::uint32_t a, Pairs b) {
  const Pairs all = Pairs{} + a;
  sums += earlier_halves(all) * earlier_halves(b);
  return sums + later_halves(all) * later_halves(b);
}

#endif

/// The first `count` of kPanel values, zeros beyond; nothing is read there.
[[gnu::always_inline]] inline Vec<float> load_first(const float* from, Index count) {
#ifdef __AVX512F__
  return _mm512_maskz_loadu_ps(static_cast<__mmask16>(count >= kPanel ? 0xFFFF : (1 << count) - 1),
                               from);
#else
  return load_part(from, count);
#endif
}

}  // namespace moe::kernels::cpu::MOE_LEVEL
