#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>

namespace moe::kernels {

// Shapes: N tokens, E experts, K choices, P blocks of R rows. Slot n * K + k is choice k of token
// n.

/// How the products of a mixture are laid out: P blocks of R rows, a block for one expert. It
/// follows from N, K and E alone, so that nobody waits for what the router chose.
struct RowLayout {
  std::int64_t blocks = 0, rows = 0;
  /// Whether block e is expert e's and its row n token n's: no token moves, and every expert works
  /// for every token. Otherwise a block holds slots of one expert, and weights move.
  bool is_every_token = false;

  std::int64_t size() const { return blocks * rows; }
};

/// The layout that should take least time: multiplications of rows that serve nobody against the
/// copies of weights that small blocks ask for (docs/adr/0054).
RowLayout row_layout(std::int64_t tokens, std::int64_t choices, std::int64_t experts);

/// Which slot each row of the products serves and the reverse, on the experts' device.
struct ExpertRows {
  RowLayout layout;
  at::Tensor expert_of_block;  // (P) int64
  at::Tensor slot_of_row;      // (P * R) int64: N * K where a row serves none
  at::Tensor row_of_slot;      // (N * K) int64: P * R where the capacity leaves a slot out
  at::Tensor load;             // (E) int64: slots that each expert serves
};

/// Of experts (N, K) int64, each in [0, E), on any device and without waiting for it. `capacity`
/// bounds the slots that an expert serves, first come first served in (row, time) order; negative:
/// no bound. The last `unbound` experts have none. Within an expert, slots are in order.
ExpertRows make_expert_rows(const at::Tensor& experts, std::int64_t num_experts,
                            std::int64_t capacity = -1, std::int64_t unbound = 0);
/// The same in a given layout.
ExpertRows make_expert_rows(const at::Tensor& experts, std::int64_t num_experts,
                            const RowLayout& layout, std::int64_t capacity, std::int64_t unbound);

}  // namespace moe::kernels
