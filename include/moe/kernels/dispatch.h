#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <vector>

namespace moe::kernels {

// Shapes: N tokens, C n_embed, E num_experts, K top_k, F expert width, S = N*K slots (token,
// choice).

/// Every expert's MLP, stacked: w1 (E, F, C), b1 (E, F), w2 (E, C, F), b2 (E, C).
struct ExpertWeights {
  at::Tensor w1, b1, w2, b2;
};

/// Slots sorted by expert, stably: within an expert they stay in token order, so sums have one
/// order and results repeat bit for bit.
struct RoutingPlan {
  at::Tensor slots;                  // (S') int64, flat slot numbers n*K + k, grouped by expert
  std::vector<std::int64_t> begins;  // E + 1 bounds into `slots`
  std::int64_t dropped = 0;          // slots beyond the capacity, which get no expert
};

/// Counting sort of experts (N, K) int64, each in [0, E). `capacity` bounds the slots that an
/// expert takes, first come first served in (row, time) order; negative: no bound.
/// Waits for the device once.
RoutingPlan make_routing_plan(const at::Tensor& experts, std::int64_t num_experts,
                              std::int64_t capacity = -1);

/// y (N, C), y[n] = sum over k of gates[n,k] * mask[n,k] * (relu(x[n] w1' + b1) w2' + b2) with the
/// weights of expert experts[n,k]. gates (N, K); mask (N, K, C) is the dropout of the experts'
/// outputs, or undefined for none. Differentiable in x, gates and w; experts without a token get
/// zero gradients. Agrees with the reference to rounding.
at::Tensor expert_mixture(const at::Tensor& x, const at::Tensor& gates, const at::Tensor& mask,
                          const RoutingPlan& plan, const ExpertWeights& w);

/// The same in plain operations under autograd: every expert over every token, masked.
at::Tensor expert_mixture_reference(const at::Tensor& x, const at::Tensor& gates,
                                    const at::Tensor& mask, const RoutingPlan& plan,
                                    const ExpertWeights& w);

}  // namespace moe::kernels
