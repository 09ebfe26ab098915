#include "moe/kernels/slot_table.h"

#include <ATen/ATen.h>

#include <limits>

#include "kernels/slot_sort.h"

namespace moe::kernels {

std::int64_t slot_panels(std::int64_t slots, std::int64_t num_experts) {
  return std::min(slots, cpu::panels_of(slots) + num_experts);
}

SlotTable make_slot_table(const at::Tensor& experts, std::int64_t num_experts,
                          std::int64_t capacity, std::int64_t unbound) {
  TORCH_CHECK(experts.numel() < std::numeric_limits<std::int32_t>::max(),
              "slots are numbered in 32 bits: ", experts.numel(), " are too many");
  const auto chosen = experts.contiguous();
  SlotTable table{at::full({slot_panels(chosen.numel(), num_experts), kPanelSlots}, -1, at::kInt),
                  at::empty({num_experts + 1}, at::kInt), at::empty({num_experts}, at::kLong)};
  sort_slots(chosen.const_data_ptr<std::int64_t>(), chosen.numel(), num_experts, capacity, unbound,
             {table.slots.mutable_data_ptr<std::int32_t>(),
              table.first_panel.mutable_data_ptr<std::int32_t>(),
              table.load.mutable_data_ptr<std::int64_t>()});
  return table;
}

}  // namespace moe::kernels
