#pragma once

// The rounded product as a test calls it. Included with MOE_LEVEL and MOE_BFLOAT16 defined by one
// file an instruction set; without them, what those files offer.

#include <cstdint>

namespace moe::kernels::cpu {

/// One product: a as Factor says, column- or row-major; b in panels of 16 values.
struct ProbedProduct {
  bool column_major;
  std::int64_t rows, depth, panels;
  std::int64_t segments;  // 0: one of `depth`; else so many of 16
  const float* a;
  std::int64_t a_stride, a_segment;
  const float* b;
  std::int64_t b_stride, b_segment, b_panel;
  float* out;  // (rows, panels, 16)
};

struct Probe {
  /// 16 words that hold 32 values, two each, the earlier one in the lower half.
  void (*round_consecutive)(const float* values, std::uint32_t* words);
  /// The same of values i and 16 + i.
  void (*round_side_by_side)(const float* values, std::uint32_t* words);
  void (*multiply)(const ProbedProduct& product);
};

namespace emulated_probe {
extern const Probe kProbe;
}
namespace emulated_tiles_probe {
extern const Probe kProbe;
}
namespace native_probe {
extern const Probe kProbe;
}
namespace native_tiles_probe {
extern const Probe kProbe;
}

}  // namespace moe::kernels::cpu

#ifdef MOE_LEVEL
#include "kernels/cpu/multiply.h"
#include "kernels/cpu/tiles.h"

namespace moe::kernels::cpu::MOE_LEVEL {

inline void probe_round_consecutive(const float* values, std::uint32_t* words) {
  store<std::uint32_t>(words, round_consecutive(load(values), load(values + kPanel)));
}
inline void probe_round_side_by_side(const float* values, std::uint32_t* words) {
  store<std::uint32_t>(words, round_side_by_side(load(values), load(values + kPanel)));
}

template <Left kLeft>
void probe_product(const ProbedProduct& p) {
  const Factor<float> a{p.a, p.a_stride, p.a_segment}, b{p.b, p.b_stride, p.b_segment};
  const auto done = [&](Index m, Index panel, const Row<float>& row) {
    store_row(p.out + (m * p.panels + panel) * kPanel, row);
  };
  if (p.segments == 0)
    multiply<kLeft>(p.rows, a, b, Inner{p.depth}, Panels{p.panels, p.b_panel}, done);
  else
    multiply<kLeft>(p.rows, a, b, PanelSegments{p.segments}, Panels{p.panels, p.b_panel}, done);
}
inline void probe_multiply(const ProbedProduct& p) {
  const TileScope tiles;
  if (p.column_major)
    probe_product<Left::column_major>(p);
  else
    probe_product<Left::row_major>(p);
}

constinit const Probe kProbe{probe_round_consecutive, probe_round_side_by_side, probe_multiply};

}  // namespace moe::kernels::cpu::MOE_LEVEL
#endif
