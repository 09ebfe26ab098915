#pragma once

#include <ATen/core/Tensor.h>

#include "moe/data/windows.h"

namespace moe {

/// inputs and targets (B, T) int64 of a batch, on `device`.
struct BatchTensors {
  at::Tensor inputs, targets;
};
BatchTensors to_tensors(const Batch& batch, at::Device device);

}  // namespace moe
