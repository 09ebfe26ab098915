#pragma once

#include <ATen/core/Tensor.h>

#include "moe/kernels/expert_rows.h"
#include "moe/spec/kinds.h"

namespace moe::kernels {

// Shapes: N tokens, C n_embed, E num_experts, K top_k, F expert width.

/// Every expert's MLP, stacked: w1 (E, F, C), b1 (E, F), w2 (E, C, F), b2 (E, C); with gated
/// experts w1 (E, 2, F, C) and b1 (E, 2, F): gates, then what they weigh. Biases are undefined for
/// none.
struct ExpertWeights {
  at::Tensor w1, b1, w2, b2;
};

/// y (N, C), y[n] = sum over k of gates[n,k] * mask[n,k] * (f(x[n] w1' + b1) w2' + b2) with the
/// weights of expert experts[n,k] and f its activation. gates (N, K); mask (N, K, C) is the dropout
/// of the experts' outputs, or undefined for none. Differentiable in x, gates and w; experts
/// without a token get zero gradients. Waits for no device, and the shapes of all that it makes
/// follow from those of its arguments. Agrees with the reference to rounding.
at::Tensor expert_mixture(const at::Tensor& x, const at::Tensor& gates, const at::Tensor& mask,
                          const ExpertRows& rows, const ExpertWeights& w, Activation activation);

/// The same in plain operations under autograd: every expert over every token, masked.
at::Tensor expert_mixture_reference(const at::Tensor& x, const at::Tensor& gates,
                                    const at::Tensor& mask, const ExpertRows& rows,
                                    const ExpertWeights& w, Activation activation);

}  // namespace moe::kernels
