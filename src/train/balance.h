#pragma once

#include <cstdint>

#include "moe/train/state.h"

namespace moe {

// What training does for the balance of experts besides the gradients (docs/routing.md).

/// (L, kBalanceSums, E) of zeros on `device`, where any layer of the model sums up its routing;
/// else undefined.
at::Tensor make_update_sums(const ModelSpec& spec, at::Device device);
/// Adds those of one batch.
void add_sums(const LmOutput& batch, const at::Tensor& to);

/// Adds a batch's side losses, each averaged over the layers that have it, to the means over
/// `batches`. NaN where no layer has one.
void add_side_terms(const LmOutput& batch, const ModelSpec& spec, std::int64_t batches,
                    SideMeans& means);

/// b += rate * sign(mean count - count) of each expert, by the choices of a whole update (Wang et
/// al. 2024, arXiv 2408.15664). In place: checkpoints and kernels know the tensors.
void move_balance_biases(TrainState& state);
/// The same without waiting for the device, as long as `memory` says that all is sound.
void move_balance_biases(TrainState& state, const kernels::UpdateMemory& memory);

}  // namespace moe
