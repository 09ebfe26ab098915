#pragma once

#include "kernels/cpu/round_factor.h"

namespace moe::kernels::cpu::MOE_LEVEL {

// The product of multiply.h with operands rounded to bfloat16 and sums in float. Rounding costs
// more than a product, so that each factor is rounded into a buffer that the first cache holds and
// serves many times: the right one for a band of rows, the left one for the panels of a tile.

/// What a product works in. left: (kRoundedRows, kRoundedPairs) for a row-major factor, else
/// (kRoundedPairs, kRoundedRows) and room for a store that reaches beyond its rows.
template <int kPanels>
struct RoundedRoom {
  alignas(64) std::uint32_t left[kRoundedRows * kRoundedPairs + kPanel];
  Pairs right[kRoundedPairs * kPanels];
  Vec<float> sums[kBandRows * kPanels];
};

/// Adds the products of `pairs` pairs to sums (kRoundedRows, kPanels).
template <int kPanels, Left kLeft>
[[gnu::noinline]] void add_tile(const std::uint32_t* left, const Pairs* right, Index pairs,
                                Vec<float>* sums) {
  Vec<float> tile[kRoundedRows][kPanels];
#pragma GCC unroll 8
  for (int i = 0; i < kRoundedRows; ++i)
#pragma GCC unroll 4
    for (int p = 0; p < kPanels; ++p) tile[i][p] = sums[i * kPanels + p];
  for (Index k = 0; k < pairs; ++k, right += kPanels) {
#pragma GCC unroll 8
    for (int i = 0; i < kRoundedRows; ++i) {
      const std::uint32_t value =
          kLeft == Left::row_major ? left[i * kRoundedPairs + k] : left[k * kRoundedRows + i];
#pragma GCC unroll 4
      for (int p = 0; p < kPanels; ++p) tile[i][p] = add_products(tile[i][p], value, right[p]);
    }
  }
#pragma GCC unroll 8
  for (int i = 0; i < kRoundedRows; ++i)
#pragma GCC unroll 4
    for (int p = 0; p < kPanels; ++p) sums[i * kPanels + p] = tile[i][p];
}

/// Rows [first, first + rows) of the product with kPanels panels; rows is kBandRows at most. Sums
/// run over k in order, pair by pair.
template <int kPanels, Left kLeft, class Depth>
[[gnu::noinline]] void multiply_band(Index first, Index rows, Factor<float> a, Factor<float> b,
                                     Index depth, Index next, RoundedRoom<kPanels>& room) {
  const float* left = a.data + (kLeft == Left::row_major ? first * a.stride : first);
  const Index tiles = (rows + kRoundedRows - 1) / kRoundedRows;
  for (Index i = 0; i < tiles * kRoundedRows * kPanels; ++i) room.sums[i] = Vec<float>{};
  for (Index begin = 0; begin < depth; begin += kRoundedDepth) {
    const Chunk chunk{begin, depth - begin < kRoundedDepth ? depth - begin : kRoundedDepth};
    round_right<kPanels, Depth>(b.data, next, b, chunk, room.right);
    for (Index m = 0; m < rows; m += kRoundedRows) {
      const Index count = rows - m < kRoundedRows ? rows - m : kRoundedRows;
      round_left<kLeft, Depth>(left + (kLeft == Left::row_major ? m * a.stride : m), count, a,
                               chunk, room.left);
      add_tile<kPanels, kLeft>(room.left, room.right, (chunk.count + 1) / 2,
                               room.sums + m * kPanels);
    }
  }
}

template <int kPanels, Left kLeft, class Depth, class Done>
inline void multiply_rounded(Index rows, Factor<float> a, Factor<float> b, Index depth, Index next,
                             const Done& done) {
  RoundedRoom<kPanels> room;
  for (Index first = 0; first < rows; first += kBandRows) {
    const Index count = rows - first < kBandRows ? rows - first : kBandRows;
    multiply_band<kPanels, kLeft, Depth>(first, count, a, b, depth, next, room);
    for (Index m = 0; m < count; ++m)
      for (int p = 0; p < kPanels; ++p) done(first + m, p, Row<float>{room.sums[m * kPanels + p]});
  }
}

/// As `multiply`, of which it is the form with rounded operands.
template <Left kLeft, class Depth, class Done>
inline void multiply_bfloat16(Index rows, Factor<float> a, Factor<float> b, Depth inner,
                              Panels panels, const Done& done) {
  const Index depth = inner.depth * inner.segments;
  Index p = 0;
  const auto together = [&](auto count) __attribute__((always_inline)) {
    Factor<float> right = b;
    right.data += p * panels.stride;
    multiply_rounded<count(), kLeft, Depth>(
        rows, a, right, depth, panels.stride,
        [&](Index m, Index q, const Row<float>& row) { done(m, p + q, row); });
    p += count();
  };
  while (p < panels.count) {
    const Index count = tile_panels<float>(panels.count - p);
    if (count == 3) together(Constant<3>{});
    if (count == 2) together(Constant<2>{});
    if (count == 1) together(Constant<1>{});
  }
}

}  // namespace moe::kernels::cpu::MOE_LEVEL
