#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>

#include "moe/config/config.h"

namespace moe {

/// Learning rate of update `step` (1 for the first): linear warm-up over warmup_iters, then the
/// schedule down to final_learning_rate at max_iters.
double learning_rate_at(const OptimConfig& config, std::int64_t max_iters, std::int64_t step);

/// Euclidean norm, summed in double. Waits for the device.
double l2_norm(const at::Tensor& flat);

/// What gradients of norm `norm` are multiplied by so that it is at most `max_norm`.
double clip_scale(double norm, double max_norm);

/// AdamW over flat buffers. Moments and the count of updates are its whole state.
class AdamW {
 public:
  AdamW(const OptimConfig& config, const at::Tensor& parameters);
  /// Gradients count times `gradient_scale`; they are left as they are on the CPU.
  void step(at::Tensor& parameters, at::Tensor& gradients, double learning_rate,
            double gradient_scale = 1);

  at::Tensor exp_avg, exp_avg_sq;  // (P)
  std::int64_t steps = 0;          // updates so far

 private:
  double beta1_, beta2_, eps_, weight_decay_;
};

}  // namespace moe
