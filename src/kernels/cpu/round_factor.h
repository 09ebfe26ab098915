#pragma once

#include <type_traits>

#include "kernels/cpu/bfloat16.h"
#include "kernels/cpu/factor.h"

namespace moe::kernels::cpu::MOE_LEVEL {

/// Values of the inner dimension that are rounded at a time, and rows that share a right factor.
inline constexpr Index kRoundedDepth = 256, kBandRows = 96;
inline constexpr Index kRoundedPairs = kRoundedDepth / 2;
inline constexpr int kRoundedRows = 8;
static_assert(kBandRows % kRoundedRows == 0 && kRoundedPairs % kPanel == 0);

/// Values [begin, begin + count) of the inner dimension; begin is a multiple of kRoundedDepth.
struct Chunk {
  Index begin, count;
};

/// How far value k of the inner dimension lies from the first, where one segment's are `step`
/// apart. Only panels come in several segments: they hold no half pair.
template <class Depth>
[[gnu::always_inline]] inline Index place(Index k, Index step, Index segment) {
  if constexpr (std::is_same_v<Depth, PanelSegments>)
    return k / kPanel * segment + k % kPanel * step;
  else
    return k * step;
}

/// `count` rows from `left` on, at most kRoundedRows. What the others hold counts for nothing.
template <Left kLeft, class Depth>
[[gnu::noinline]] void round_left(const float* left, Index count, Factor<float> a, Chunk chunk,
                                  std::uint32_t* to) {
  if constexpr (kLeft == Left::row_major) {
    for (Index i = 0; i < kRoundedRows; ++i)
      for (Index k = 0; k < chunk.count; k += 2 * kPanel) {
        const float* row = left + (i < count ? i : count - 1) * a.stride;
        const auto part = [&](Index first) {
          if (first >= chunk.count) return Vec<float>{};
          return load_first(row + place<Depth>(chunk.begin + first, 1, a.segment),
                            chunk.count - first);
        };
        store<std::uint32_t>(to + i * kRoundedPairs + k / 2,
                             round_consecutive(part(k), part(k + kPanel)));
      }
  } else {
    for (Index k = 0; k < chunk.count; k += 2) {
      const auto row = [&](Index at) {
        if (at >= chunk.count) return Vec<float>{};
        return load_first(left + place<Depth>(chunk.begin + at, a.stride, a.segment), count);
      };
      store<std::uint32_t>(to + k / 2 * kRoundedRows, round_side_by_side(row(k), row(k + 1)));
    }
  }
}

/// kPanels panels from `right` on, `next` elements apart, pair by pair.
template <int kPanels, class Depth>
[[gnu::noinline]] void round_right(const float* right, Index next, Factor<float> b, Chunk chunk,
                                   Pairs* to) {
  for (Index k = 0; k < chunk.count; k += 2)
    for (int p = 0; p < kPanels; ++p) {
      const auto row = [&](Index at) {
        if (at >= chunk.count) return Vec<float>{};
        return load(right + p * next + place<Depth>(chunk.begin + at, b.stride, b.segment));
      };
      *to++ = round_side_by_side(row(k), row(k + 1));
    }
}

}  // namespace moe::kernels::cpu::MOE_LEVEL
