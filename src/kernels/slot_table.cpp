#include "moe/kernels/slot_table.h"

#include <ATen/ATen.h>

#include <limits>

#include "kernels/slot_sort.h"

namespace moe::kernels {

namespace {

SlotTable slot_table_on_cpu(const at::Tensor& experts, std::int64_t num_experts,
                            std::int64_t capacity, std::int64_t unbound) {
  const auto chosen = experts.contiguous();
  SlotTable table{at::full({slot_panels(chosen.numel(), num_experts), kPanelSlots}, -1, at::kInt),
                  at::empty({num_experts + 1}, at::kInt), at::empty({num_experts}, at::kLong)};
  sort_slots(chosen.const_data_ptr<std::int64_t>(), chosen.numel(), num_experts, capacity, unbound,
             {table.slots.mutable_data_ptr<std::int32_t>(),
              table.first_panel.mutable_data_ptr<std::int32_t>(),
              table.load.mutable_data_ptr<std::int64_t>()});
  return table;
}

}  // namespace

std::int64_t slot_panels(std::int64_t slots, std::int64_t num_experts) {
  return std::min(slots, cpu::panels_of(slots) + num_experts);
}

SlotTable slot_table_of_tensors(const at::Tensor& experts, std::int64_t num_experts,
                                std::int64_t capacity, std::int64_t unbound) {
  const auto chosen = experts.reshape({-1});  // (S)
  const auto options = chosen.options();
  const auto counts = at::one_hot(chosen, num_experts).cumsum(0);             // (S, E)
  const auto rank = counts.gather(1, chosen.unsqueeze(1)).squeeze(1).sub(1);  // among its expert's
  SlotTable table;
  table.load = counts[-1];
  if (capacity >= 0) {
    const auto bound = num_experts - unbound;
    table.load = at::cat(
        {table.load.narrow(0, 0, bound).clamp_max(capacity), table.load.narrow(0, bound, unbound)});
  }
  const auto panels = table.load.add(kPanelSlots - 1).div(kPanelSlots, "floor").cumsum(0);
  const auto first = at::cat({at::zeros({1}, options), panels});
  table.first_panel = first.to(at::kInt);
  // What is beyond the capacity goes to one place behind the table.
  const auto size = slot_panels(chosen.numel(), num_experts) * kPanelSlots;
  const auto is_served = rank.lt(table.load.index_select(0, chosen));
  const auto place = first.index_select(0, chosen).mul(kPanelSlots).add(rank);
  auto slots = at::full({size + 1}, -1, options.dtype(at::kInt));
  slots.index_copy_(0, place.masked_fill(is_served.logical_not(), size),
                    at::arange(chosen.numel(), options).to(at::kInt));
  table.slots = slots.narrow(0, 0, size).view({-1, kPanelSlots});
  return table;
}

SlotTable make_slot_table(const at::Tensor& experts, std::int64_t num_experts,
                          std::int64_t capacity, std::int64_t unbound) {
  TORCH_CHECK(experts.numel() < std::numeric_limits<std::int32_t>::max(),
              "slots are numbered in 32 bits: ", experts.numel(), " are too many");
  return experts.is_cpu() ? slot_table_on_cpu(experts, num_experts, capacity, unbound)
                          : slot_table_of_tensors(experts, num_experts, capacity, unbound);
}

}  // namespace moe::kernels
