#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "moe/config/config.h"
#include "moe/spec/parameter_table.h"

namespace moe {

/// Learning rate of update `step` (1 for the first): linear warm-up over warmup_iters, then the
/// schedule down to final_learning_rate at max_iters.
double learning_rate_at(const OptimConfig& config, std::int64_t max_iters, std::int64_t step);

/// What weight decays count times at update `step` (1 for the first): 1, or, by the schedule, from
/// there down to 0 at max_iters.
double weight_decay_scale_at(const OptimConfig& config, std::int64_t max_iters, std::int64_t step);

/// Euclidean norm, summed in double. Waits for the device.
double l2_norm(const at::Tensor& flat);

/// What gradients of norm `norm` are multiplied by so that it is at most `max_norm`.
double clip_scale(double norm, double max_norm);

/// A stretch of the flat buffers whose values are updated alike.
struct OptimizerGroup {
  std::int64_t begin, count;
  double learning_rate_scale, weight_decay;
};

/// The parameters of a model in groups, as optim.groups has them: neighbours that are updated alike
/// are one group.
std::vector<OptimizerGroup> optimizer_groups(const OptimConfig& config,
                                             const ParameterTable& table);

/// What an optimizer keeps of each parameter.
struct OptimizerState {
  std::string name;   // in checkpoints, before the parameter's
  at::Tensor values;  // (P), laid out as the parameters
};
/// The names of all of it, in the order of checkpoints.
std::vector<std::string> optimizer_state_names(const OptimConfig& config);

/// What an update multiplies gradients (clipping) and weight decays (their schedule) by.
struct UpdateScale {
  double gradient = 1, weight_decay = 1;
};

/// AdamW over flat buffers, group by group. `state` and the count of updates are all that a resume
/// needs.
class Optimizer {
 public:
  /// One group of all parameters (P), as the config says.
  Optimizer(const OptimConfig& config, const at::Tensor& parameters);
  /// Groups lie one after another and cover all parameters.
  Optimizer(const OptimConfig& config, std::vector<OptimizerGroup> groups,
            const at::Tensor& parameters);

  /// Gradients are left as they are on the CPU.
  void step(at::Tensor& parameters, at::Tensor& gradients, double learning_rate,
            const UpdateScale& scale = {});

  const std::vector<OptimizerState>& state() const { return state_; }
  const at::Tensor& state(std::string_view name) const;

  std::int64_t steps = 0;  // updates so far

 private:
  OptimConfig config_;
  std::vector<OptimizerGroup> groups_;
  std::vector<OptimizerState> state_;
};

}  // namespace moe
