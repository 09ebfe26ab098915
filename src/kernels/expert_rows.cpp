#include "moe/kernels/expert_rows.h"

#include <ATen/ATen.h>

#include <algorithm>

namespace moe::kernels {

namespace {

/// What moving one weight costs, in operations: 4 bytes at 16 operations a byte, about what GPUs do
/// in float32 while their memory brings one (docs/adr/0054; not measured).
constexpr double kMove = 4 * 16;
/// Times that a weight moves if its block has a copy of it: read, written, read.
constexpr double kMovesOfACopy = 3;
constexpr std::int64_t kMostRows = 1LL << 20;

/// Blocks of `rows` that any choice of experts fits in.
std::int64_t blocks_of(std::int64_t slots, std::int64_t experts, std::int64_t rows) {
  return std::min(slots, slots / rows + experts);
}

/// (S) int64: the how many-th slot of its expert each is; `counts` (E, S) counts them.
at::Tensor ranks(const at::Tensor& counts, const at::Tensor& chosen) {
  return counts.gather(0, chosen.unsqueeze(0)).squeeze(0).sub(1);
}

at::Tensor load_of(const at::Tensor& counts, std::int64_t capacity, std::int64_t unbound) {
  const auto load = counts.select(1, -1).contiguous();
  if (capacity < 0) return load;
  const auto bound = load.numel() - unbound;
  return at::cat({load.narrow(0, 0, bound).clamp_max(capacity), load.narrow(0, bound, unbound)});
}

}  // namespace

RowLayout row_layout(std::int64_t tokens, std::int64_t choices, std::int64_t experts) {
  const auto slots = tokens * choices;
  RowLayout best{experts, tokens, /*is_every_token=*/true};
  auto least = static_cast<double>(experts) * (2 * static_cast<double>(tokens) + kMove);
  for (std::int64_t rows = 1; rows <= std::min(tokens, kMostRows); rows *= 2) {
    const RowLayout layout{blocks_of(slots, experts, rows), rows, /*is_every_token=*/false};
    const auto cost = static_cast<double>(layout.blocks) *
                      (2 * static_cast<double>(rows) + kMovesOfACopy * kMove);
    if (cost >= least) continue;
    least = cost;
    best = layout;
  }
  return best;
}

ExpertRows make_expert_rows(const at::Tensor& experts, std::int64_t num_experts,
                            std::int64_t capacity, std::int64_t unbound) {
  return make_expert_rows(experts, num_experts,
                          row_layout(experts.size(0), experts.size(1), num_experts), capacity,
                          unbound);
}

ExpertRows make_expert_rows(const at::Tensor& experts, std::int64_t num_experts,
                            const RowLayout& layout, std::int64_t capacity, std::int64_t unbound) {
  const auto chosen = experts.reshape({-1});  // (S)
  const auto options = chosen.options();
  const auto slots = at::arange(chosen.numel(), options), all = at::arange(num_experts, options);
  // (E, S): along rows, which GPUs add up by many threads.
  const auto counts = all.unsqueeze(1).eq(chosen).cumsum(1, at::kLong);
  const auto rank = ranks(counts, chosen);
  ExpertRows out{layout, {}, {}, {}, load_of(counts, capacity, unbound)};
  at::Tensor row;
  if (layout.is_every_token) {
    out.expert_of_block = all;
    row = chosen * layout.rows + slots.div(experts.size(1), "floor");
  } else {
    const auto ends =
        out.load.add(layout.rows - 1).div(layout.rows, "floor").cumsum(0);  // (E), in blocks
    const auto begins = at::cat({at::zeros({1}, options), ends});
    // A block beyond the last expert's serves nobody; any expert will do.
    out.expert_of_block =
        at::arange(layout.blocks, options).unsqueeze(1).ge(ends).sum(1).clamp_max(num_experts - 1);
    row = begins.index_select(0, chosen) * layout.rows + rank;
  }
  const auto is_left_out = rank.ge(out.load.index_select(0, chosen));
  out.row_of_slot = row.masked_fill(is_left_out, layout.size());
  // One place more, which takes all that is left out.
  const auto served =
      at::full({layout.size() + 1}, chosen.numel(), options).index_copy_(0, out.row_of_slot, slots);
  out.slot_of_row = served.narrow(0, 0, layout.size());
  return out;
}

}  // namespace moe::kernels
