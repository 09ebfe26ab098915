#include <ATen/ATen.h>

#include <algorithm>

#include "moe/kernels/dispatch.h"

namespace moe::kernels {

namespace {

/// How many of `chosen` slots an expert takes.
std::int64_t taken(std::int64_t chosen, std::int64_t capacity) {
  return capacity < 0 ? chosen : std::min(chosen, capacity);
}

RoutingPlan plan_from_counts(const std::vector<std::int64_t>& counts, std::int64_t capacity) {
  RoutingPlan plan;
  plan.begins.push_back(0);
  for (const auto chosen : counts) {
    plan.begins.push_back(plan.begins.back() + taken(chosen, capacity));
    plan.dropped += chosen - taken(chosen, capacity);
  }
  return plan;
}

RoutingPlan plan_on_cpu(const at::Tensor& experts, std::int64_t num_experts,
                        std::int64_t capacity) {
  const auto flat = experts.contiguous();
  const auto* chosen = flat.const_data_ptr<std::int64_t>();
  std::vector<std::int64_t> counts(static_cast<std::size_t>(num_experts), 0);
  for (std::int64_t slot = 0; slot < flat.numel(); ++slot)
    ++counts[static_cast<std::size_t>(chosen[slot])];
  auto plan = plan_from_counts(counts, capacity);
  plan.slots = at::empty({plan.begins.back()}, at::kLong);
  auto* out = plan.slots.mutable_data_ptr<std::int64_t>();
  auto next = plan.begins;
  for (std::int64_t slot = 0; slot < flat.numel(); ++slot) {
    const auto expert = static_cast<std::size_t>(chosen[slot]);
    if (next[expert] < plan.begins[expert + 1]) out[next[expert]++] = slot;
  }
  return plan;
}

RoutingPlan plan_on_device(const at::Tensor& experts, std::int64_t num_experts,
                           std::int64_t capacity) {
  const auto flat = experts.reshape({-1});
  const auto order = at::argsort(flat, /*stable=*/true, /*dim=*/0);
  const auto counts = at::bincount(flat, {}, num_experts).cpu();
  const auto* data = counts.const_data_ptr<std::int64_t>();
  const std::vector<std::int64_t> chosen(data, data + num_experts);
  auto plan = plan_from_counts(chosen, capacity);
  if (plan.dropped == 0) {
    plan.slots = order;
    return plan;
  }
  std::vector<at::Tensor> kept;
  std::int64_t begin = 0;
  for (const auto count : chosen) {
    kept.push_back(order.narrow(0, begin, taken(count, capacity)));
    begin += count;
  }
  plan.slots = at::cat(kept);
  return plan;
}

}  // namespace

RoutingPlan make_routing_plan(const at::Tensor& experts, std::int64_t num_experts,
                              std::int64_t capacity) {
  return experts.is_cpu() ? plan_on_cpu(experts, num_experts, capacity)
                          : plan_on_device(experts, num_experts, capacity);
}

}  // namespace moe::kernels
