#pragma once

#include "kernels/cpu/round_factor.h"
#include "kernels/cpu/tiles.h"

namespace moe::kernels::cpu::MOE_LEVEL {

// The product of multiply.h with operands rounded to bfloat16 and sums in float. Rounding costs
// as much as a few products, so that each factor is rounded into a buffer and serves many times:
// the right one, in the nearest caches, for a band of rows; the left one for a group of panels.

/// What a product works in.
struct RoundedRoom {
  alignas(64) std::uint32_t left[kBandRows * kRoundedPairs];
  Pairs right[kRoundedPairs * kTilePanels<float>];
  // Of a tile from row m and panel p on: from p * kBandRows + m * its panels on. Of a single chunk:
  // from 0 on, one tile after another.
  Vec<float> sums[kBandRows * kGroupPanels];
};

#ifdef MOE_TILES

/// Adds the products of `pairs` pairs to sums (kRoundedRows, kPanels), which are 0 where `fresh`.
/// The rounded left factor lies the same way whichever kLeft is.
template <int kPanels, Left kLeft>
[[gnu::noinline]] void add_tile(const std::uint32_t* left, const Pairs* right, Index pairs,
                                bool fresh, Vec<float>* sums) {
  constexpr Index kStride = kPanels * sizeof(Pairs),
                  kLeftStride = kRoundedPairs * sizeof(std::uint32_t);
  // Tiles 0 to 2 are sums, 3 the left factor, from 4 on the right one's panels.
  const auto each = [](auto&& apply) __attribute__((always_inline)) {
    apply(Constant<0>{});
    if constexpr (kPanels > 1) apply(Constant<1>{});
    if constexpr (kPanels > 2) apply(Constant<2>{});
  };
  each([&](auto p) __attribute__((always_inline)) {
    if (fresh)
      clear_tile<p()>();
    else
      load_tile<p()>(sums + p(), kStride);
  });
  for (Index k = 0; k < pairs; k += kPanel, left += kPanel, right += kPanel * kPanels) {
    load_tile<3>(left, kLeftStride);
    each([&](auto p) __attribute__((always_inline)) {
      load_tile<4 + p()>(right + p(), kStride);
      multiply_tiles<p(), 3, 4 + p()>();
    });
  }
  each([&](auto p) __attribute__((always_inline)) { store_tile<p()>(sums + p(), kStride); });
}

#else

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

#endif

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

/// Rows [0, rows) from `left` on, kBandRows at most, of the product with at most kGroupPanels
/// panels. Sums run over k in order, pair by pair or tile by tile.
template <Left kLeft, class Depth, class Done>
inline void multiply_band(const float* left, Index rows, Factor<float> a, Factor<float> b,
                          Index depth, Panels panels, RoundedRoom& room, const Done& done) {
  Index begin = 0;
  do {
    const Chunk chunk{begin, depth - begin < kRoundedDepth ? depth - begin : kRoundedDepth};
    const bool first = begin == 0, last = begin + kRoundedDepth >= depth;
    round_left<kLeft, Depth>(left, rows, a, chunk, room.left);
    for_tiles(panels.count, [&](Index p, auto wide) {
      round_right<wide(), Depth>(b.data + p * panels.stride, panels.stride, b, chunk, room.right);
      for (Index m = 0; m < rows; m += kRoundedRows) {
        // Of one chunk alone, sums are handed on before the next tile's, and stay near.
        Vec<float>* sums = room.sums + (first && last ? 0 : p * kBandRows + m * wide());
        add_tile<wide(), kLeft>(room.left + m * kRoundedPairs, room.right, (chunk.count + 1) / 2,
                                first, sums);
        if (!last) continue;
        for (Index i = 0; i < kRoundedRows && m + i < rows; ++i)
          for (int q = 0; q < wide(); ++q) done(m + i, p + q, Row<float>{*sums++});
      }
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
      multiply_band<kLeft, Depth>(
          band, count, a, right, depth, together, room,
          [&](Index m, Index p, const Row<float>& row) { done(first + m, group + p, row); });
    }
  }
}

}  // namespace moe::kernels::cpu::MOE_LEVEL
