#include <ATen/ATen.h>

#include <algorithm>
#include <cmath>
#include <numeric>
#include <utility>

#include "moe/kernels/adamw.h"
#include "moe/kernels/flat_memory.h"
#include "moe/optim/optim.h"

namespace moe {

namespace {

at::Tensor part_of(const at::Tensor& flat, const Stretch& stretch) {
  return flat.narrow(0, stretch.begin, stretch.count);
}

template <class Group>
std::vector<Stretch> stretches_of(const std::vector<Group>& groups) {
  return {groups.begin(), groups.end()};
}

void require_whole(const OptimizerPlan& plan, std::int64_t parameters) {
  auto all = stretches_of(plan.adamw);
  for (const auto& group : plan.muon) all.push_back(group);
  std::ranges::sort(all, {}, &Stretch::begin);
  std::int64_t end = 0;
  for (const auto& stretch : all) {
    TORCH_CHECK(stretch.begin == end && stretch.count >= 0,
                "stretches follow one another: ", stretch.begin, " follows ", end);
    end += stretch.count;
  }
  TORCH_CHECK(end == parameters, "stretches cover all parameters: ", end, " of ", parameters);
}

}  // namespace

double l2_norm(const at::Tensor& flat) { return std::sqrt(kernels::sum_of_squares(flat)); }

double clip_scale(double norm, double max_norm) { return norm > max_norm ? max_norm / norm : 1; }

at::Tensor OptimizerState::of(const Stretch& parameters) const {
  std::int64_t at = 0;
  for (const auto& stretch : stretches) {
    const auto offset = parameters.begin - stretch.begin;
    if (offset >= 0 && offset + parameters.count <= stretch.count)
      return values.narrow(0, at + offset, parameters.count);
    at += stretch.count;
  }
  return {};
}

Optimizer::Optimizer(const OptimConfig& config, const at::Tensor& parameters)
    : Optimizer(config, {.adamw = {{{0, parameters.numel()}, 1, config.weight_decay}}},
                parameters) {}

Optimizer::Optimizer(const OptimConfig& config, OptimizerPlan plan, const at::Tensor& parameters)
    : config_(config), plan_(std::move(plan)), newton_schulz_(newton_schulz_of(config.muon)) {
  require_whole(plan_, parameters.numel());
  const auto keep = [&](const char* name, std::vector<Stretch> stretches) {
    std::int64_t count = 0;
    for (const auto& stretch : stretches) count += stretch.count;
    state_.push_back(
        {name, kernels::flat_zeros(count, parameters.options()), std::move(stretches)});
  };
  keep("exp_avg", stretches_of(plan_.adamw));
  keep("exp_avg_sq", stretches_of(plan_.adamw));
  if (!plan_.muon.empty()) keep("momentum", stretches_of(plan_.muon));
  if (has_average()) keep("average", plan_.averaged);
}

void Optimizer::average(const at::Tensor& parameters, bool is_averaged) {
  if (!has_average()) return;
  averaged_steps = is_averaged ? averaged_steps + 1 : 0;
  if (!is_averaged) return;
  const auto& kept = state_.back();
  for (const auto& stretch : plan_.averaged) {
    auto mean = kept.of(stretch);
    if (averaged_steps == 1)
      mean.copy_(part_of(parameters, stretch));
    else
      mean.lerp_(part_of(parameters, stretch), 1 / config_.average.tau);
  }
}

void Optimizer::blend(at::Tensor& parameters) const {
  if (averaged_steps == 0) return;
  const auto& kept = state_.back();
  for (const auto& stretch : plan_.averaged)
    part_of(parameters, stretch).lerp_(kept.of(stretch), config_.average.blend);
}

void Optimizer::step(at::Tensor& parameters, at::Tensor& gradients, double learning_rate,
                     const UpdateScale& scale) {
  ++steps;
  step_adamw(parameters, gradients, learning_rate, scale);
  if (!plan_.muon.empty())
    step_muon(parameters, gradients, learning_rate / config_.learning_rate, scale);
}

void Optimizer::step_adamw(at::Tensor& parameters, at::Tensor& gradients, double learning_rate,
                           const UpdateScale& scale) {
  std::int64_t at = 0;  // in the moments
  for (const auto& group : plan_.adamw) {
    const Stretch kept{at, group.count};
    kernels::adamw(
        part_of(parameters, group), part_of(gradients, group), part_of(state("exp_avg"), kept),
        part_of(state("exp_avg_sq"), kept),
        {learning_rate * group.learning_rate_scale, config_.betas[0], config_.betas[1], config_.eps,
         group.weight_decay * scale.weight_decay, steps, scale.gradient, config_.cautious_decay});
    at += group.count;
  }
}

void Optimizer::step_muon(at::Tensor& parameters, at::Tensor& gradients, double rate_scale,
                          const UpdateScale& scale) {
  std::vector<kernels::MuonStack> stacks;
  std::int64_t at = 0;  // in the momentum
  for (const auto& group : plan_.muon) {
    const auto matrices = [&](const at::Tensor& flat, std::int64_t begin) {
      return flat.narrow(0, begin, group.count).view({-1, group.rows, group.columns});
    };
    const auto rate = config_.muon.learning_rate * rate_scale * group.learning_rate_scale *
                      static_cast<double>(group.every);
    stacks.push_back({matrices(parameters, group.begin),
                      matrices(gradients, group.begin),
                      matrices(state("momentum"), at),
                      {.learning_rate = rate,
                       .momentum = momentum_at(config_, steps),
                       .weight_decay = group.weight_decay * scale.weight_decay,
                       .gradient_scale = scale.gradient,
                       .cautious = config_.cautious_decay,
                       .applies = applies(group, steps)}});
    at += group.count;
  }
  kernels::muon(stacks, newton_schulz_, workspace_);
}

bool Optimizer::applies(const MuonGroup& group, std::int64_t step) const {
  return (step - 1 - group.turn) % group.every == 0;
}

std::int64_t Optimizer::phase_of(std::int64_t step) const {
  std::int64_t turns = 1;  // after which the same groups move again
  for (const auto& group : plan_.muon) turns = std::lcm(turns, group.every);
  return (step - 1) % turns;
}

double Optimizer::average_weight(bool is_averaged) const {
  if (!has_average() || !is_averaged) return 0;
  return averaged_steps == 0 ? 1 : 1 / config_.average.tau;
}

void Optimizer::step_from_memory(at::Tensor& parameters, at::Tensor& gradients, std::int64_t step,
                                 const kernels::UpdateMemory& memory) const {
  std::int64_t at = 0;  // in the moments
  for (const auto& group : plan_.adamw) {
    const Stretch kept{at, group.count};
    kernels::adamw_from_memory(part_of(parameters, group), part_of(gradients, group),
                               part_of(state("exp_avg"), kept), part_of(state("exp_avg_sq"), kept),
                               {group.learning_rate_scale, config_.betas[0], config_.betas[1],
                                config_.eps, group.weight_decay, config_.cautious_decay},
                               memory);
    at += group.count;
  }
  at = 0;  // in the momentum
  for (const auto& group : plan_.muon) {
    const auto matrices = [&](const at::Tensor& flat, std::int64_t begin) {
      return flat.narrow(0, begin, group.count).view({-1, group.rows, group.columns});
    };
    const auto rate = config_.muon.learning_rate / config_.learning_rate *
                      group.learning_rate_scale * static_cast<double>(group.every);
    kernels::muon_from_memory(
        matrices(parameters, group.begin), matrices(gradients, group.begin),
        matrices(state("momentum"), at),
        {rate, group.weight_decay, config_.cautious_decay, applies(group, step)}, newton_schulz_,
        memory);
    at += group.count;
  }
  for (const auto& stretch : plan_.averaged) {
    const auto mean = state_.back().of(stretch);
    memory.keep(mean, mean.lerp(part_of(parameters, stretch),
                                memory[kernels::kAverageWeight].to(mean.scalar_type())));
  }
}

const at::Tensor& Optimizer::state(std::string_view name) const {
  const auto found = std::ranges::find(state_, name, &OptimizerState::name);
  TORCH_CHECK(found != state_.end(), "the optimizer has no ", name);
  return found->values;
}

}  // namespace moe
