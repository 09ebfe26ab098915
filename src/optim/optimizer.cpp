#include <ATen/ATen.h>

#include <algorithm>
#include <cmath>
#include <utility>

#include "moe/kernels/adamw.h"
#include "moe/kernels/flat_memory.h"
#include "moe/optim/optim.h"

namespace moe {

double l2_norm(const at::Tensor& flat) { return std::sqrt(kernels::sum_of_squares(flat)); }

double clip_scale(double norm, double max_norm) { return norm > max_norm ? max_norm / norm : 1; }

std::vector<std::string> optimizer_state_names(const OptimConfig& /*config*/) {
  return {"exp_avg", "exp_avg_sq"};
}

Optimizer::Optimizer(const OptimConfig& config, const at::Tensor& parameters)
    : Optimizer(config, {{0, parameters.numel(), 1, config.weight_decay}}, parameters) {}

Optimizer::Optimizer(const OptimConfig& config, std::vector<OptimizerGroup> groups,
                     const at::Tensor& parameters)
    : config_(config), groups_(std::move(groups)) {
  std::int64_t end = 0;
  for (const auto& group : groups_) {
    TORCH_CHECK(group.begin == end && group.count >= 0, "groups follow one another: ", group.begin,
                " follows ", end);
    end += group.count;
  }
  TORCH_CHECK(end == parameters.numel(), "groups cover all parameters: ", end, " of ",
              parameters.numel());
  for (auto& name : optimizer_state_names(config))
    state_.push_back(
        {std::move(name), kernels::flat_zeros(parameters.numel(), parameters.options())});
}

void Optimizer::step(at::Tensor& parameters, at::Tensor& gradients, double learning_rate,
                     const UpdateScale& scale) {
  ++steps;
  for (const auto& group : groups_) {
    const auto part = [&](const at::Tensor& flat) {
      return flat.narrow(0, group.begin, group.count);
    };
    kernels::adamw(part(parameters), part(gradients), part(state("exp_avg")),
                   part(state("exp_avg_sq")),
                   {learning_rate * group.learning_rate_scale, config_.betas[0], config_.betas[1],
                    config_.eps, group.weight_decay * scale.weight_decay, steps, scale.gradient,
                    config_.cautious_decay});
  }
}

const at::Tensor& Optimizer::state(std::string_view name) const {
  const auto found = std::ranges::find(state_, name, &OptimizerState::name);
  TORCH_CHECK(found != state_.end(), "the optimizer has no ", name);
  return found->values;
}

}  // namespace moe
