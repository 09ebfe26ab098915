#pragma once

#include <ATen/core/Tensor.h>

#include "moe/spec/kinds.h"

namespace moe::kernels {

/// f(x) in plain tensor operations, under autograd; x (..., F), of a gated f (..., 2F), gates
/// first.
at::Tensor activate(Activation activation, const at::Tensor& x);
/// The gradient of x from that of f(x), without autograd.
at::Tensor activation_gradient(Activation activation, const at::Tensor& x,
                               const at::Tensor& d_value);

}  // namespace moe::kernels
