#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>

#include "moe/kernels/layers.h"
#include "moe/spec/model_spec.h"

namespace moe {

/// The side losses of one layer over `windows` windows, as the papers write them, under autograd
/// (docs/routing.md): the twin of the fused layer's. `update_sums` (kBalanceSums, E) of the whole
/// update, or undefined where these tokens are all of it. Undefined tensors where the spec asks for
/// nothing.
kernels::SideLoss side_loss(const FeedForwardSpec& spec, const kernels::Routing& routing,
                            std::int64_t windows, const at::Tensor& update_sums);

}  // namespace moe
