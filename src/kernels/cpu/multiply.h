#pragma once

#include "kernels/cpu/vector.h"

namespace moe::kernels::cpu::MOE_LEVEL {

/// How the left factor lies in memory: element (m, k) of a segment.
enum class Left { row_major, column_major };

/// One factor of a product whose inner dimension is cut into `segments` pieces of `depth`.
/// Left: row_major a[m * stride + k], column_major a[k * stride + m].
/// Right: kPanel values at b[k * stride]. Segment s begins s * segment elements further on.
template <class T>
struct Factor {
  const T* data;
  Index stride;
  Index segment = 0;
};
struct Inner {
  Index depth;
  Index segments = 1;
};

/// Rows of one register tile: as many sums as the registers hold beside a row of the right factor.
template <class T>
inline constexpr int kTileRows = MOE_VECTOR_BYTES == 64   ? (kVecs<T> == 1 ? 16 : 8)
                                 : MOE_VECTOR_BYTES == 32 ? (kVecs<T> == 2 ? 6 : 2)
                                                          : 2;

template <int kRows, Left kLeft, class T, class Done>
[[gnu::always_inline]] inline void multiply_tile(const T* left, Factor<T> a, Factor<T> b,
                                                 Inner inner, Index row, Done&& done) {
  Vec<T> sums[kRows][kVecs<T>] = {};
  for (Index s = 0; s < inner.segments; ++s) {
    const T* l = left + s * a.segment;
    const T* r = b.data + s * b.segment;
    for (Index k = 0; k < inner.depth; ++k, r += b.stride) {
      Vec<T> right[kVecs<T>];
#pragma GCC unroll 8
      for (int v = 0; v < kVecs<T>; ++v) right[v] = load(r + v * kLanes<T>);
#pragma GCC unroll 16
      for (int i = 0; i < kRows; ++i) {
        const T value = kLeft == Left::row_major ? l[i * a.stride + k] : l[k * a.stride + i];
#pragma GCC unroll 8
        for (int v = 0; v < kVecs<T>; ++v) sums[i][v] += value * right[v];
      }
    }
  }
#pragma GCC unroll 16
  for (int i = 0; i < kRows; ++i) {
    Row<T> result;
#pragma GCC unroll 8
    for (int v = 0; v < kVecs<T>; ++v) result.v[v] = sums[i][v];
    done(row + i, result);
  }
}

/// The product (rows x kPanel) of a left factor and one panel: each finished row goes to
/// `done(m, Row)`. This is the one matrix product of all layers; sums run over k in order.
template <Left kLeft, class T, class Done>
inline void multiply(Index rows, Factor<T> a, Factor<T> b, Inner inner, Done&& done) {
  constexpr int kMost = kTileRows<T>;
  const auto at = [&](Index m) { return a.data + (kLeft == Left::row_major ? m * a.stride : m); };
  Index m = 0;
  for (; m + kMost <= rows; m += kMost) multiply_tile<kMost, kLeft>(at(m), a, b, inner, m, done);
  if constexpr (kMost > 8)
    for (; m + 8 <= rows; m += 8) multiply_tile<8, kLeft>(at(m), a, b, inner, m, done);
  if constexpr (kMost > 4)
    for (; m + 4 <= rows; m += 4) multiply_tile<4, kLeft>(at(m), a, b, inner, m, done);
  if constexpr (kMost > 2)
    for (; m + 2 <= rows; m += 2) multiply_tile<2, kLeft>(at(m), a, b, inner, m, done);
  for (; m < rows; ++m) multiply_tile<1, kLeft>(at(m), a, b, inner, m, done);
}

}  // namespace moe::kernels::cpu::MOE_LEVEL
