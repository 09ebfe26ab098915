#pragma once

#include "kernels/cpu/round_factor.h"

namespace moe::kernels::cpu::MOE_LEVEL {

// The product of multiply.h with operands rounded to bfloat16 and sums in float. Rounding costs
// as much as a few products, so that each factor is rounded into a buffer and serves many times:
// the right one, in the first cache, for a band of rows; the left one for a group of panels.

/// What a product works in.
struct RoundedRoom {
  alignas(64) std::uint32_t left[kBandRows * kRoundedPairs];
  Pairs right[kRoundedPairs * kTilePanels<float>];
  Vec<float> sums[kBandRows * kGroupPanels];  // of a tile from panel p on: from p * kBandRows on
};

/// Adds the products of `pairs` pairs to sums (kRoundedRows, kPanels), which are 0 where `fresh`.
template <int kPanels, Left kLeft>
[[gnu::noinline]] void add_tile(const std::uint32_t* left, const Pairs* right, Index pairs,
                                bool fresh, Vec<float>* sums) {
  Vec<float> tile[kRoundedRows][kPanels];
#pragma GCC unroll 8
  for (int i = 0; i < kRoundedRows; ++i)
#pragma GCC unroll 4
    for (int p = 0; p < kPanels; ++p) tile[i][p] = fresh ? Vec<float>{} : sums[i * kPanels + p];
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

/// Calls `tile(p, count)` for tiles of `panels` panels: `count` of them, a Constant, from p on.
template <class Tile>
inline void for_tiles(Index panels, const Tile& tile) {
  Index count = 0;
  for (Index p = 0; p < panels; p += count) {
    count = tile_panels<float>(panels - p);
    if (count == 3) tile(p, Constant<3>{});
    if (count == 2) tile(p, Constant<2>{});
    if (count == 1) tile(p, Constant<1>{});
  }
}

/// The sums of `rows` rows from `left` on and of at most kGroupPanels panels; rows is kBandRows at
/// most. They run over k in order, pair by pair.
template <Left kLeft, class Depth>
[[gnu::noinline]] void multiply_band(const float* left, Index rows, Factor<float> a,
                                     Factor<float> b, Index depth, Panels panels,
                                     RoundedRoom& room) {
  const Index tiles = (rows + kRoundedRows - 1) / kRoundedRows;
  Index begin = 0;
  do {
    const Chunk chunk{begin, depth - begin < kRoundedDepth ? depth - begin : kRoundedDepth};
    round_left<kLeft, Depth>(left, rows, a, chunk, room.left);
    for_tiles(panels.count, [&](Index p, auto count) {
      round_right<count(), Depth>(b.data + p * panels.stride, panels.stride, b, chunk, room.right);
      for (Index tile = 0; tile < tiles; ++tile)
        add_tile<count(), kLeft>(room.left + tile * kRoundedRows * kRoundedPairs, room.right,
                                 (chunk.count + 1) / 2, begin == 0,
                                 room.sums + p * kBandRows + tile * kRoundedRows * count());
    });
    begin += kRoundedDepth;
  } while (begin < depth);
}

/// As `multiply`, of which it is the form with rounded operands.
template <Left kLeft, class Depth, class Done>
inline void multiply_bfloat16(Index rows, Factor<float> a, Factor<float> b, Depth inner,
                              Panels panels, const Done& done) {
  const Index depth = inner.depth * inner.segments;
  RoundedRoom room;
  for (Index group = 0; group < panels.count; group += kGroupPanels) {
    const Index left = panels.count - group;
    const Panels together{left < kGroupPanels ? left : kGroupPanels, panels.stride};
    const Factor<float> right{b.data + group * panels.stride, b.stride, b.segment};
    for (Index first = 0; first < rows; first += kBandRows) {
      const Index count = rows - first < kBandRows ? rows - first : kBandRows;
      const float* band = a.data + (kLeft == Left::row_major ? first * a.stride : first);
      multiply_band<kLeft, Depth>(band, count, a, right, depth, together, room);
      for_tiles(together.count, [&](Index p, auto wide) {
        const Vec<float>* sums = room.sums + p * kBandRows;
        for (Index m = 0; m < count; ++m)
          for (int q = 0; q < wide(); ++q)
            done(first + m, group + p + q, Row<float>{sums[m * wide() + q]});
      });
    }
  }
}

}  // namespace moe::kernels::cpu::MOE_LEVEL
