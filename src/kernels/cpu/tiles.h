#pragma once

#ifdef MOE_TILES
#include "kernels/cpu/bfloat16.h"
#endif

namespace moe::kernels::cpu::MOE_LEVEL {

// Tile registers (AMX): each holds kPanel rows of kPanel words. In a level with MOE_TILES the
// product of rounded operands runs in them: by instructions, or, with MOE_EMULATED_TILES, which
// tests define, in plain code.

#if defined(MOE_TILES) && !defined(MOE_EMULATED_TILES)

/// While one lives, its thread's tile registers are set up. Each call of a kernel has one, since
/// other libraries may set them up for themselves between two calls.
class TileScope {
 public:
  TileScope() {
    struct alignas(64) {
      std::uint8_t palette = 1, reserved[15] = {};
      std::uint16_t row_bytes[16] = {};
      std::uint8_t rows[16] = {};
    } shapes;
    for (int i = 0; i < 8; ++i) {
      shapes.row_bytes[i] = kPanel * sizeof(std::uint32_t);
      shapes.rows[i] = kPanel;
    }
    asm volatile("ldtilecfg %0" : : "m"(shapes) : "memory");
  }
  ~TileScope() { asm volatile("tilerelease" : : : "memory"); }
  TileScope(const TileScope&) = delete;
  TileScope& operator=(const TileScope&) = delete;
};

// Written out, since the compiler's own load does not say that it reads memory (gcc 12).

/// Rows `stride` bytes apart.
template <int kTile>
[[gnu::always_inline]] inline void load_tile(const void* from, Index stride) {
  asm volatile("tileloadd (%0,%1,1), %%tmm%c2" : : "r"(from), "r"(stride), "i"(kTile) : "memory");
}
template <int kTile>
[[gnu::always_inline]] inline void store_tile(void* to, Index stride) {
  asm volatile("tilestored %%tmm%c2, (%0,%1,1)" : : "r"(to), "r"(stride), "i"(kTile) : "memory");
}
template <int kTile>
[[gnu::always_inline]] inline void clear_tile() {
  asm volatile("tilezero %%tmm%c0" : : "i"(kTile));
}
/// sums[i][j] plus the products of the pairs left[i][k] and right[k][j] over all k: the earlier
/// halves' and the later halves' are summed apart in order, then added.
template <int kSums, int kLeft, int kRight>
[[gnu::always_inline]] inline void multiply_tiles() {
  asm volatile("tdpbf16ps %%tmm%c2, %%tmm%c1, %%tmm%c0" : : "i"(kSums), "i"(kLeft), "i"(kRight));
}

#else

/// There is nothing to set up.
class TileScope {
 public:
  TileScope() {}
};

#ifdef MOE_TILES

inline thread_local Pairs tile_twins[8][kPanel];

template <int kTile>
inline void load_tile(const void* from, Index stride) {
  for (Index i = 0; i < kPanel; ++i)
    __builtin_memcpy(&tile_twins[kTile][i], static_cast<const char*>(from) + i * stride,
                     sizeof(Pairs));
}
template <int kTile>
inline void store_tile(void* to, Index stride) {
  for (Index i = 0; i < kPanel; ++i)
    __builtin_memcpy(static_cast<char*>(to) + i * stride, &tile_twins[kTile][i], sizeof(Pairs));
}
template <int kTile>
inline void clear_tile() {
  for (auto& row : tile_twins[kTile]) row = Pairs{};
}
template <int kSums, int kLeft, int kRight>
inline void multiply_tiles() {
  for (Index i = 0; i < kPanel; ++i) {
    Vec<float> earlier{}, later{};
    for (Index k = 0; k < kPanel; ++k) {
      const Pairs left = Pairs{} + tile_twins[kLeft][i][k], right = tile_twins[kRight][k];
      earlier += earlier_halves(left) * earlier_halves(right);
      later += later_halves(left) * later_halves(right);
    }
    Pairs& sums = tile_twins[kSums][i];
    sums = reinterpret_cast<Pairs>(reinterpret_cast<Vec<float>>(sums) + (earlier + later));
  }
}

#endif
#endif

}  // namespace moe::kernels::cpu::MOE_LEVEL
