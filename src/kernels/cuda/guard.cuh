#pragma once

#include "common.cuh"

// Clipping, and the guard against what is not finite, after train/step.cpp: an update whose loss or
// gradients are not finite is refused, and changes nothing.

namespace moe::kernels::cuda {

/// What changes from update to update, laid out as moe/kernels/update_values.h has it.
struct Update {
  double learning_rate;   // AdamW's, of a group whose scale is 1
  double step;            // 1 for the first update
  double momentum;        // Muon's
  double decay_scale;     // weight decays count times this
  double average_weight;  // of the new weights in their average
  double gradient_scale;  // gradients count times this: clipping
  double is_sound;        // 1; 0 from the first update on that was refused, until the host says so
};

__device__ inline bool is_finite(double value) { return value - value == 0; }

/// norm (1), and what the update (1) is to know, from the loss (1) and the sum (1) of the squares
/// of all gradients (sum_parts). sound (1) counts the updates that are. max_norm: infinity for no
/// clipping. Grid: 1; block: any. Twin: train_step with clip_scale.
__global__ void guard_step(const double* loss, const double* squares, double max_norm, double* norm,
                           double* sound, Update* update) {
  if (threadIdx.x != 0) return;
  *norm = sqrt(*squares);
  update->gradient_scale = *norm > max_norm ? max_norm / *norm : 1;
  if (!is_finite(*loss) || !is_finite(*norm)) update->is_sound = 0;
  *sound += update->is_sound;
}

}  // namespace moe::kernels::cuda
