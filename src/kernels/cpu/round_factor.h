#pragma once

#include <type_traits>

#include "kernels/cpu/bfloat16.h"
#include "kernels/cpu/factor.h"

namespace moe::kernels::cpu::MOE_LEVEL {

/// Values of the inner dimension that are rounded at a time, rows that share a rounded right factor
/// and panels that share a rounded left one.
#ifdef MOE_TILES
inline constexpr Index kRoundedDepth = 512, kBandRows = 192, kGroupPanels = 12;
inline constexpr int kRoundedRows = kPanel;
inline constexpr Index kDepthStep = 2 * kPanel;  // the depth is filled up with zeros to a multiple
#else
inline constexpr Index kRoundedDepth = 256, kBandRows = 96, kGroupPanels = 12;
inline constexpr int kRoundedRows = 8;
inline constexpr Index kDepthStep = 2;
#endif
inline constexpr Index kRoundedPairs = kRoundedDepth / 2;
static_assert(kBandRows % kPanel == 0 && kRoundedPairs % kPanel == 0);

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

template <class Depth>
inline void round_rows(const float* left, Index rows, Factor<float> a, Chunk chunk,
                       std::uint32_t* to) {
  const Index all = (rows + kRoundedRows - 1) / kRoundedRows * kRoundedRows;
  const auto round = [&](Index i, Index k) {
    const float* row = left + (i < rows ? i : rows - 1) * a.stride;
    const auto part = [&](Index first) {
      if (first >= chunk.count) return Vec<float>{};
      return load_first(row + place<Depth>(chunk.begin + first, 1, a.segment), chunk.count - first);
    };
    store<std::uint32_t>(to + i * kRoundedPairs + k / 2,
                         round_consecutive(part(k), part(k + kPanel)));
  };
  // In the order of memory: a row lies together, or a segment does.
  if constexpr (std::is_same_v<Depth, PanelSegments>) {
    for (Index k = 0; k < chunk.count; k += 2 * kPanel)
      for (Index i = 0; i < all; ++i) round(i, k);
  } else {
    for (Index i = 0; i < all; ++i)
      for (Index k = 0; k < chunk.count; k += 2 * kPanel) round(i, k);
  }
}

#ifdef MOE_TILES

/// to[i * kRoundedPairs + j] = words[j][i].
inline void store_turned(const Pairs (&words)[kPanel], std::uint32_t* to) {
#ifdef __AVX512F__
  __m512 rows[kPanel];
#pragma GCC unroll 16
  for (int j = 0; j < kPanel; ++j) rows[j] = reinterpret_cast<__m512>(words[j]);
  transpose(rows);
#pragma GCC unroll 16
  for (int i = 0; i < kPanel; ++i)
    store<std::uint32_t>(to + i * kRoundedPairs, reinterpret_cast<Pairs>(rows[i]));
#else
  for (int i = 0; i < kPanel; ++i)
    for (int j = 0; j < kPanel; ++j) to[i * kRoundedPairs + j] = words[j][i];
#endif
}

template <class Depth>
inline void round_columns(const float* left, Index rows, Factor<float> a, Chunk chunk,
                          std::uint32_t* to) {
  for (Index k = 0; k < chunk.count; k += kDepthStep)
    for (Index i = 0; i < rows; i += kPanel) {
      const auto part = [&](Index at) {
        if (at >= chunk.count) return Vec<float>{};
        const float* from = left + place<Depth>(chunk.begin + at, a.stride, a.segment) + i;
        __builtin_prefetch(from + kDepthStep * a.stride, 0, 2);
        return load_first(from, rows - i);
      };
      Pairs words[kPanel];
#pragma GCC unroll 16
      for (int j = 0; j < kPanel; ++j)
        words[j] = round_side_by_side(part(k + 2 * j), part(k + 2 * j + 1));
      store_turned(words, to + i * kRoundedPairs + k / 2);
    }
}

#else

template <class Depth>
inline void round_columns(const float* left, Index rows, Factor<float> a, Chunk chunk,
                          std::uint32_t* to) {
  constexpr Index kAhead = 16;  // columns; a column's rows are too few for the processor to guess
  constexpr Index kTile = kRoundedRows * kRoundedPairs;
  static_assert(kPanel == 2 * kRoundedRows);
  typedef std::uint32_t HalfPairs
      __attribute__((vector_size(kRoundedRows * sizeof(std::uint32_t))));
  for (Index k = 0; k < chunk.count; k += 2) {
    const auto column = [&](Index at) {
      return left + place<Depth>(chunk.begin + at, a.stride, a.segment);
    };
    const float *earlier = column(k), *later = k + 1 < chunk.count ? column(k + 1) : nullptr;
    for (Index i = 0; i < rows; i += kPanel) {
      __builtin_prefetch(earlier + kAhead * a.stride + i, 0, 2);
      __builtin_prefetch(earlier + (kAhead + 1) * a.stride + i, 0, 2);
      const Pairs both =
          round_side_by_side(load_first(earlier + i, rows - i),
                             later != nullptr ? load_first(later + i, rows - i) : Vec<float>{});
      const HalfPairs halves[] = {
          __builtin_shufflevector(both, both, 0, 1, 2, 3, 4, 5, 6, 7),
          __builtin_shufflevector(both, both, 8, 9, 10, 11, 12, 13, 14, 15)};
      std::uint32_t* tile = to + i / kRoundedRows * kTile + k / 2 * kRoundedRows;
      __builtin_memcpy(tile, &halves[0], sizeof halves[0]);
      __builtin_memcpy(tile + kTile, &halves[1], sizeof halves[1]);
    }
  }
}

#endif

/// Rows [0, rows) from `left` on, at most kBandRows, in tiles of kRoundedRows * kRoundedPairs
/// words: of a row-major factor, and with MOE_TILES of each, (kRoundedRows, kRoundedPairs), else
/// (kRoundedPairs, kRoundedRows). What fills the last tile up counts for nothing.
template <Left kLeft, class Depth>
[[gnu::noinline]] void round_left(const float* left, Index rows, Factor<float> a, Chunk chunk,
                                  std::uint32_t* to) {
  if constexpr (kLeft == Left::row_major)
    round_rows<Depth>(left, rows, a, chunk, to);
  else
    round_columns<Depth>(left, rows, a, chunk, to);
}

/// kPanels panels from `right` on, `next` elements apart, pair by pair; zeros fill a kDepthStep up.
template <int kPanels, class Depth>
[[gnu::noinline]] void round_right(const float* right, Index next, Factor<float> b, Chunk chunk,
                                   Pairs* to) {
  const Index count = (chunk.count + kDepthStep - 1) / kDepthStep * kDepthStep;
  for (Index k = 0; k < count; k += 2)
    for (int p = 0; p < kPanels; ++p) {
      const auto row = [&](Index at) {
        if (at >= chunk.count) return Vec<float>{};
        return load(right + p * next + place<Depth>(chunk.begin + at, b.stride, b.segment));
      };
      *to++ = round_side_by_side(row(k), row(k + 1));
    }
}

}  // namespace moe::kernels::cpu::MOE_LEVEL
