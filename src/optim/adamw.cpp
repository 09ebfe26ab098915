#include "moe/kernels/adamw.h"

#include <ATen/ATen.h>

#include <cmath>

#include "moe/kernels/flat_memory.h"
#include "moe/optim/optim.h"

namespace moe {

double l2_norm(const at::Tensor& flat) { return std::sqrt(kernels::sum_of_squares(flat)); }

double clip_scale(double norm, double max_norm) { return norm > max_norm ? max_norm / norm : 1; }

AdamW::AdamW(const OptimConfig& config, const at::Tensor& parameters)
    : exp_avg(kernels::flat_zeros(parameters.numel(), parameters.options())),
      exp_avg_sq(kernels::flat_zeros(parameters.numel(), parameters.options())),
      beta1_(config.betas[0]),
      beta2_(config.betas[1]),
      eps_(config.eps),
      weight_decay_(config.weight_decay) {}

void AdamW::step(at::Tensor& parameters, at::Tensor& gradients, double learning_rate,
                 double gradient_scale) {
  ++steps;
  kernels::adamw(parameters, gradients, exp_avg, exp_avg_sq,
                 {learning_rate, beta1_, beta2_, eps_, weight_decay_, steps, gradient_scale});
}

}  // namespace moe
