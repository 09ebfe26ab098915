#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>

#include "moe/kernels/draws.h"

namespace moe::kernels {

/// dropout_mask and normal_draws by kernels of a GPU on which rows, key and `out` (N, W) lie, float
/// or double. They are started on its current stream. Of a binary with CUDA alone.
void draw_mask_on_gpu(const RowIds& rows, double p, const DrawKey& key, const at::Tensor& out);
void draw_normals_on_gpu(const RowIds& rows, const DrawKey& key, const at::Tensor& out);

}  // namespace moe::kernels
