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
/// Segments of kPanel: the depth is known to the compiler, so that no loop's end is guessed wrong.
struct PanelSegments {
  static constexpr Index depth = kPanel;
  Index segments = 1;
};
/// Panels of the right factor, each `stride` elements after the one before.
struct Panels {
  Index count = 1, stride = 0;
};

/// Panels in one register tile at most, and its rows: as many sums as the registers hold beside a
/// row of the right factor and fit the addresses of the left factor's rows. Several panels, because
/// a value of the left factor that has been loaded then serves as many vectors.
template <class T>
inline constexpr int kTilePanels = MOE_VECTOR_BYTES == 64 && kVecs<T> == 1 ? 3 : 1;
template <class T>
inline constexpr int kTileRows = MOE_VECTOR_BYTES == 64   ? 8
                                 : MOE_VECTOR_BYTES == 32 ? (kVecs<T> == 2 ? 6 : 2)
                                                          : 2;

/// Panels of the next tile where `left` are left: by threes, and by twos where one alone would
/// remain, which keeps the processor waiting for its sums.
template <class T>
constexpr Index tile_panels(Index left) {
  if (kTilePanels<T> == 1 || left == 1) return 1;
  return left == 2 || left == 4 ? 2 : 3;
}

}  // namespace moe::kernels::cpu::MOE_LEVEL
