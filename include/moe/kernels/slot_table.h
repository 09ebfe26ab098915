#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>

namespace moe::kernels {

// Shapes: N tokens, E experts, K choices. Slot n * K + k is choice k of token n. The expert of a
// choice may be a shared one, which no router chose.

inline constexpr std::int64_t kPanelSlots = 16;  // of a panel: what a product takes at once

/// Which slots each expert serves, sorted by expert and, within one, by token: so sums have one
/// order, and results repeat bit for bit (docs/adr/0041). Its size follows from N, K and E alone.
struct SlotTable {
  at::Tensor slots;        // (panels, kPanelSlots) int32; -1 where a panel holds no further slot
  at::Tensor first_panel;  // (E + 1) int32: expert e has the panels from [e] to [e + 1]
  at::Tensor load;         // (E) int64: slots that each expert serves
};

/// Panels that any choice of experts fits in.
std::int64_t slot_panels(std::int64_t slots, std::int64_t num_experts);

/// Counting sort of experts (N, K) int64, each in [0, E), on the CPU. `capacity` bounds the slots
/// that an expert serves, first come first served in (row, time) order; negative: no bound. The
/// last `unbound` experts have none.
SlotTable make_slot_table(const at::Tensor& experts, std::int64_t num_experts,
                          std::int64_t capacity = -1, std::int64_t unbound = 0);

}  // namespace moe::kernels
