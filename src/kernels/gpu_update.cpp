#include "kernels/gpu_update.h"

#include <ATen/ATen.h>

#include <algorithm>

#include "kernels/cuda/arguments.h"
#include "kernels/gpu.h"
#include "moe/base/text.h"

namespace moe::kernels {

void adamw_on_gpu(const at::Tensor& parameters, const at::Tensor& gradients,
                  const at::Tensor& exp_avg, const at::Tensor& exp_avg_sq,
                  const AdamWConstants& constants, const UpdateMemory& memory) {
  const cuda::AdamWArguments values{parameters.mutable_data_ptr(), gradients.const_data_ptr(),
                                    exp_avg.mutable_data_ptr(), exp_avg_sq.mutable_data_ptr()};
  const cuda::AdamWConstantArguments same{
      constants.learning_rate_scale, constants.beta1,   constants.beta2, constants.eps,
      constants.weight_decay,        constants.cautious};
  start_on_gpu(parameters, "optimizer.cuh", cat("adamw<", gpu_type(parameters), ">"),
               gpu_launch(parameters.numel()), values, parameters.numel(), same,
               memory.values.const_data_ptr());
}

void judge_on_gpu(const at::Tensor& gradients, double max_norm, const UpdateFigures& figures,
                  const UpdateMemory& memory) {
  const auto count = gradients.numel();
  const auto pieces = (count + cuda::kSquaresAtOnce - 1) / cuda::kSquaresAtOnce;
  const auto parts = at::empty({pieces + 1}, memory.values.options());  // and their sum
  auto* squares = parts.mutable_data_ptr<double>();
  start_on_gpu(gradients, "optimizer.cuh", cat("square_parts<", gpu_type(gradients), ">"),
               {static_cast<std::uint32_t>(pieces), kGpuThreads}, gradients.const_data_ptr(), count,
               squares);
  start_on_gpu(gradients, "optimizer.cuh", "sum_parts", {1, cuda::kSumThreads},
               static_cast<const double*>(squares), pieces, squares + pieces);
  start_on_gpu(gradients, "guard.cuh", "guard_step", {1, kGpuThreads},
               figures.loss.const_data_ptr(), static_cast<const double*>(squares + pieces),
               max_norm, figures.norm.mutable_data_ptr(), figures.sound.mutable_data_ptr(),
               memory.values.mutable_data_ptr());
}

}  // namespace moe::kernels
