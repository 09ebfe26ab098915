#pragma once

#include <ATen/core/Tensor.h>

#include "moe/train/state.h"

namespace moe {

// What an update on the CPU and one on a device (device_updates.h) share.

/// Whether a batch's gradients depend on what the others of its update were routed like.
bool looks_ahead(const TrainState& state);

/// The slots that nobody served, of `served` (L, E) by all tokens of the result, on the CPU. NaN
/// for a layer without a router.
void note_dropped(const at::Tensor& served, const ModelSpec& spec, StepResult& result);

}  // namespace moe
