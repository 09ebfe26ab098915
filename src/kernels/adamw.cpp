#include "moe/kernels/adamw.h"

#include <ATen/ATen.h>

#include <cmath>

namespace moe::kernels {

void adamw(at::Tensor parameters, at::Tensor gradients, at::Tensor exp_avg, at::Tensor exp_avg_sq,
           const AdamWStep& at_step) {
  // The fused kernel reads the count of updates from a float tensor on the parameters' device.
  const auto step =
      at::full({}, static_cast<double>(at_step.step), parameters.options().dtype(at::kFloat));
  at::_fused_adamw_({parameters}, {gradients}, {exp_avg}, {exp_avg_sq}, {}, {step},
                    at_step.learning_rate, at_step.beta1, at_step.beta2, at_step.weight_decay,
                    at_step.eps, /*amsgrad=*/false, /*maximize=*/false);
}

void adamw_reference(at::Tensor parameters, const at::Tensor& gradients, at::Tensor exp_avg,
                     at::Tensor exp_avg_sq, const AdamWStep& at_step) {
  const auto count = static_cast<double>(at_step.step);
  const auto correction1 = 1 - std::pow(at_step.beta1, count);
  const auto correction2 = 1 - std::pow(at_step.beta2, count);
  parameters.mul_(1 - at_step.learning_rate * at_step.weight_decay);
  exp_avg.mul_(at_step.beta1).add_(gradients, 1 - at_step.beta1);
  exp_avg_sq.mul_(at_step.beta2).addcmul_(gradients, gradients, 1 - at_step.beta2);
  const auto denominator = (exp_avg_sq / correction2).sqrt_().add_(at_step.eps);
  parameters.addcdiv_(exp_avg, denominator, -at_step.learning_rate / correction1);
}

}  // namespace moe::kernels
