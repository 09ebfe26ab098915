#include "moe/kernels/adamw.h"

#include <ATen/ATen.h>
#include <ATen/Parallel.h>

#include <algorithm>
#include <cmath>
#include <vector>

#include "kernels/cpu/pool.h"
#include "kernels/cpu/table.h"
#include "kernels/gpu_update.h"

namespace moe::kernels {

namespace {

constexpr std::int64_t kChunk = 1LL << 15U;  // values a task of an update
/// Values that a norm sums up at once; blocks are added in order. So it is the same on any machine
/// of one instruction set, however the work is shared out.
constexpr std::int64_t kNormBlock = 1LL << 16U;

std::int64_t pieces(std::int64_t count, std::int64_t size) { return (count + size - 1) / size; }

template <class T>
void adamw_on_cpu(const at::Tensor& parameters, const at::Tensor& gradients,
                  const at::Tensor& exp_avg, const at::Tensor& exp_avg_sq,
                  const AdamWStep& at_step) {
  const auto count = static_cast<double>(at_step.step);
  const cpu::AdamWUpdate<T> update{parameters.mutable_data_ptr<T>(),
                                   gradients.const_data_ptr<T>(),
                                   exp_avg.mutable_data_ptr<T>(),
                                   exp_avg_sq.mutable_data_ptr<T>(),
                                   at_step.gradient_scale,
                                   1 - at_step.learning_rate * at_step.weight_decay,
                                   at_step.beta1,
                                   at_step.beta2,
                                   at_step.eps,
                                   at_step.learning_rate / (1 - std::pow(at_step.beta1, count)),
                                   1 / std::sqrt(1 - std::pow(at_step.beta2, count)),
                                   at_step.cautious};
  const auto total = parameters.numel();
  const auto& table = cpu::table<T>();
  cpu::run_tasks(pieces(total, kChunk), at::get_num_threads(), [&](std::int64_t chunk, int) {
    table.adamw(update, chunk * kChunk, std::min(total, (chunk + 1) * kChunk));
  });
}

template <class T>
double sum_of_squares_on_cpu(const at::Tensor& flat) {
  const auto* values = flat.const_data_ptr<T>();
  const auto total = flat.numel();
  const auto& table = cpu::table<T>();
  const auto blocks = pieces(total, kNormBlock);
  std::vector<double> parts(static_cast<std::size_t>(blocks));
  cpu::run_tasks(blocks, at::get_num_threads(), [&](std::int64_t block, int) {
    const auto first = block * kNormBlock;
    parts[static_cast<std::size_t>(block)] =
        table.sum_of_squares(values + first, std::min(kNormBlock, total - first));
  });
  double sum = 0;
  for (const auto part : parts) sum += part;
  return sum;
}

/// What an update moves, (P) each.
struct AdamWValues {
  at::Tensor parameters, exp_avg, exp_avg_sq;
};
/// What it moves them by, () double each.
struct AdamWNumbers {
  at::Tensor learning_rate, step, decay_scale, gradient_scale;
};

/// One update in plain tensor operations, in the order of the paper's algorithm 2.
AdamWValues adamw_moved(const AdamWValues& before, const at::Tensor& gradients,
                        const AdamWConstants& constants, const AdamWNumbers& at_step) {
  const auto rate = at_step.learning_rate * constants.learning_rate_scale;
  const auto decay = 1 - rate * (at_step.decay_scale * constants.weight_decay);
  const auto correction1 = 1 - at::pow(constants.beta1, at_step.step);
  const auto correction2 = 1 - at::pow(constants.beta2, at_step.step);
  const auto scaled = gradients * at_step.gradient_scale;
  AdamWValues out;
  out.exp_avg = (before.exp_avg * constants.beta1).add_(scaled, 1 - constants.beta1);
  out.exp_avg_sq =
      (before.exp_avg_sq * constants.beta2).addcmul_(scaled, scaled, 1 - constants.beta2);
  auto decayed = before.parameters * decay;
  if (constants.cautious)
    decayed = at::where((out.exp_avg * before.parameters).ge(0), decayed, before.parameters);
  const auto denominator = (out.exp_avg_sq / correction2).sqrt_().add_(constants.eps);
  out.parameters = decayed - out.exp_avg / denominator * (rate / correction1);
  return out;
}

}  // namespace

double sum_of_squares(const at::Tensor& flat) {
  if (!flat.is_cpu()) return std::pow(flat.to(at::kDouble).norm().item<double>(), 2);
  return flat.scalar_type() == at::kDouble ? sum_of_squares_on_cpu<double>(flat)
                                           : sum_of_squares_on_cpu<float>(flat);
}

void adamw(at::Tensor parameters, at::Tensor gradients, at::Tensor exp_avg, at::Tensor exp_avg_sq,
           const AdamWStep& at_step) {
  if (parameters.is_cpu())
    return parameters.scalar_type() == at::kDouble
               ? adamw_on_cpu<double>(parameters, gradients, exp_avg, exp_avg_sq, at_step)
               : adamw_on_cpu<float>(parameters, gradients, exp_avg, exp_avg_sq, at_step);
  if (at_step.cautious)  // which the fused kernel does not know
    return adamw_reference(parameters, gradients, exp_avg, exp_avg_sq, at_step);
  if (at_step.gradient_scale != 1) gradients.mul_(at_step.gradient_scale);
  // The fused kernel reads the count of updates from a float tensor on the parameters' device.
  const auto step =
      at::full({}, static_cast<double>(at_step.step), parameters.options().dtype(at::kFloat));
  at::_fused_adamw_({parameters}, {gradients}, {exp_avg}, {exp_avg_sq}, {}, {step},
                    at_step.learning_rate, at_step.beta1, at_step.beta2, at_step.weight_decay,
                    at_step.eps, /*amsgrad=*/false, /*maximize=*/false);
}

void adamw_reference(at::Tensor parameters, const at::Tensor& gradients, at::Tensor exp_avg,
                     at::Tensor exp_avg_sq, const AdamWStep& at_step) {
  const auto number = [](double value) { return at::scalar_tensor(value, at::kDouble); };
  const auto moved = adamw_moved(
      {parameters, exp_avg, exp_avg_sq}, gradients,
      {1, at_step.beta1, at_step.beta2, at_step.eps, at_step.weight_decay, at_step.cautious},
      {number(at_step.learning_rate), number(static_cast<double>(at_step.step)), number(1),
       number(at_step.gradient_scale)});
  parameters.copy_(moved.parameters);
  exp_avg.copy_(moved.exp_avg);
  exp_avg_sq.copy_(moved.exp_avg_sq);
}

void adamw_from_memory(const at::Tensor& parameters, const at::Tensor& gradients,
                       const at::Tensor& exp_avg, const at::Tensor& exp_avg_sq,
                       const AdamWConstants& constants, const UpdateMemory& memory) {
  if (parameters.is_cuda())
    return adamw_on_gpu(parameters, gradients, exp_avg, exp_avg_sq, constants, memory);
  const auto moved = adamw_moved(
      {parameters, exp_avg, exp_avg_sq}, gradients, constants,
      {memory[kLearningRate], memory[kStep], memory[kDecayScale], memory[kGradientScale]});
  memory.keep(parameters, moved.parameters);
  memory.keep(exp_avg, moved.exp_avg);
  memory.keep(exp_avg_sq, moved.exp_avg_sq);
}

}  // namespace moe::kernels
