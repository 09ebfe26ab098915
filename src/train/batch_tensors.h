#pragma once

#include <ATen/core/Tensor.h>

#include "moe/data/windows.h"
#include "moe/kernels/workspace.h"

namespace moe {

/// inputs and targets (B, T) int64 of a batch, on `device`; on the CPU until the workspace's reset.
struct BatchTensors {
  at::Tensor inputs, targets;
};
BatchTensors to_tensors(const Batch& batch, at::Device device, kernels::Workspace& workspace);

}  // namespace moe
