#pragma once

#include <type_traits>

#include "kernels/cpu/factor.h"
#ifdef MOE_BFLOAT16
#include "kernels/cpu/multiply_bfloat16.h"
#endif

namespace moe::kernels::cpu::MOE_LEVEL {

template <int kRows, int kPanels, Left kLeft, class T, class Depth, class Done>
[[gnu::always_inline]] inline void multiply_tile(const T* left, Factor<T> a, const T* right,
                                                 Factor<T> b, Index next, Depth inner,
                                                 const Done& done) {
  constexpr int kWide = kPanels * kVecs<T>;
  // Weights come from far: what the tiles after this one read is fetched line by line meanwhile.
  constexpr bool kFetch = kRows == kTileRows<T> && std::is_same_v<Depth, Inner>;
  const auto ahead = [&](const T* l, Index k) {
    return kLeft == Left::row_major ? l + 2 * kRows * a.stride + k * kRows
                                    : l + k * a.stride + 4 * kRows;
  };
  Vec<T> sums[kRows][kWide] = {};
  for (Index s = 0; s < inner.segments; ++s) {
    const T* l = left + s * a.segment;
    const T* r = right + s * b.segment;
#pragma GCC unroll 4
    for (Index k = 0; k < inner.depth; ++k, r += b.stride) {
      if constexpr (kFetch) __builtin_prefetch(ahead(l, k), 0, 2);
      Vec<T> values[kWide];
#pragma GCC unroll 8
      for (int v = 0; v < kWide; ++v)
        values[v] = load(r + v / kVecs<T> * next + v % kVecs<T> * kLanes<T>);
#pragma GCC unroll 16
      for (int i = 0; i < kRows; ++i) {
        const T value = kLeft == Left::row_major ? l[i * a.stride + k] : l[k * a.stride + i];
#pragma GCC unroll 8
        for (int v = 0; v < kWide; ++v) sums[i][v] += value * values[v];
      }
    }
  }
#pragma GCC unroll 16
  for (int i = 0; i < kRows; ++i)
#pragma GCC unroll 4
    for (int p = 0; p < kPanels; ++p) {
      Row<T> result;
#pragma GCC unroll 8
      for (int v = 0; v < kVecs<T>; ++v) result.v[v] = sums[i][p * kVecs<T> + v];
      done(i, p, result);
    }
}

/// Rows [m, m + kRows) of the product with every panel: the left rows stay in the first cache.
template <int kRows, Left kLeft, class T, class Depth, class Done>
[[gnu::always_inline]] inline void multiply_rows(Index m, Factor<T> a, Factor<T> b, Depth inner,
                                                 Panels panels, const Done& done) {
  const T* left = a.data + (kLeft == Left::row_major ? m * a.stride : m);
  Index p = 0;
  const auto tile = [&](auto together) __attribute__((always_inline)) {
    multiply_tile<kRows, together(), kLeft>(
        left, a, b.data + p * panels.stride, b, panels.stride, inner,
        [&](int i, int q, const Row<T>& row) { done(m + i, p + q, row); });
    p += together();
  };
  while (p < panels.count) {
    const Index together = tile_panels<T>(panels.count - p);
    if constexpr (kTilePanels<T> == 3) {
      if (together == 3) tile(Constant<3>{});
      if (together == 2) tile(Constant<2>{});
    }
    if (together == 1) tile(Constant<1>{});
  }
}

/// Panels that a caller with many of them and few rows should hand to `multiply` at once, where
/// `left` are left: a tile's, so that they stay in the first cache for the next rows, or as many as
/// a rounded left factor serves.
template <class T>
constexpr Index panels_at_once(Index left) {
#ifdef MOE_BFLOAT16
  return left < kGroupPanels ? left : kGroupPanels;
#else
  return tile_panels<T>(left);
#endif
}

/// The product (rows x kPanel) of a left factor and each of the panels: each finished row goes to
/// `done(m, panel, Row)`. This is the one matrix product of all layers (decoding a
/// few tokens apart: step.h); sums run over k in order,
/// whatever the number of panels. In a level with MOE_BFLOAT16 the operands are rounded first.
template <Left kLeft, class T, class Depth = Inner, class Done>
inline void multiply(Index rows, Factor<T> a, Factor<T> b, Depth inner, Panels panels,
                     const Done& done) {
#ifdef MOE_BFLOAT16
  multiply_bfloat16<kLeft>(rows, a, b, inner, panels, done);
#else
  constexpr int kMost = kTileRows<T>;
  Index m = 0;
  for (; m + kMost <= rows; m += kMost) multiply_rows<kMost, kLeft>(m, a, b, inner, panels, done);
  if constexpr (kMost > 4)
    for (; m + 4 <= rows; m += 4) multiply_rows<4, kLeft>(m, a, b, inner, panels, done);
  if constexpr (kMost > 2)
    for (; m + 2 <= rows; m += 2) multiply_rows<2, kLeft>(m, a, b, inner, panels, done);
  for (; m < rows; ++m) multiply_rows<1, kLeft>(m, a, b, inner, panels, done);
#endif
}

/// With one panel: `done(m, Row)`.
template <Left kLeft, class T, class Depth = Inner, class Done>
inline void multiply(Index rows, Factor<T> a, Factor<T> b, Depth inner, const Done& done) {
  multiply<kLeft>(rows, a, b, inner, Panels{},
                  [&](Index m, Index, const Row<T>& row) { done(m, row); });
}

}  // namespace moe::kernels::cpu::MOE_LEVEL
