#pragma once

#include "common.cuh"

// Clipping, and the guard against what is not finite, after train/step.cpp: an update whose loss or
// gradients are not finite is refused, and changes nothing.

namespace moe::kernels::cuda {

/// What all kernels that move weights or state read of their update. All 0 at the beginning.
struct StepGuard {
  double norm;            // of all gradients
  double gradient_scale;  // gradients count times this: clipping
  /// Not 0: refused, and so is each later update until the host, which learns of it late, makes it
  /// 0 again. norm is then that of the first that was refused.
  int refused;
};

__device__ inline bool is_finite(double value) { return value - value == 0; }

/// guard (1) from the loss (1) and the sum (1) of the squares of all gradients (sum_parts).
/// max_norm: infinity for no clipping. Grid: 1; block: any. Twin: train_step with clip_scale.
__global__ void guard_step(const double* loss, const double* squares, double max_norm,
                           StepGuard* guard) {
  if (threadIdx.x != 0 || guard->refused != 0) return;
  const double norm = sqrt(*squares);
  guard->norm = norm;
  guard->gradient_scale = norm > max_norm ? max_norm / norm : 1;
  guard->refused = is_finite(*loss) && is_finite(norm) ? 0 : 1;
}

}  // namespace moe::kernels::cuda
