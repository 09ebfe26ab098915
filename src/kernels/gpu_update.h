#pragma once

#include <ATen/core/Tensor.h>

#include "moe/kernels/adamw.h"
#include "moe/kernels/update_memory.h"

namespace moe::kernels {

// Parts of an update by a GPU's own kernels, where all tensors lie on it. Of a binary with CUDA
// alone.

/// adamw_from_memory; (P) each, float or double.
void adamw_on_gpu(const at::Tensor& parameters, const at::Tensor& gradients,
                  const at::Tensor& exp_avg, const at::Tensor& exp_avg_sq,
                  const AdamWConstants& constants, const UpdateMemory& memory);
/// judge_update.
void judge_on_gpu(const at::Tensor& gradients, double max_norm, const UpdateFigures& figures,
                  const UpdateMemory& memory);

}  // namespace moe::kernels
