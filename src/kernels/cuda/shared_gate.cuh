#pragma once

#include "activation.cuh"

// The gate of the shared experts (Qwen2-MoE), one sigmoid of a token for all of them, after
// kernels/cpu/shared_experts.h. Shapes: N tokens of C values, M slots of a token, of which those
// from K on are the shared experts'.

namespace moe::kernels::cuda {

/// gate (N) of the tokens' norms, rows (N, C), by weight (C). Any grid; a block is whole warps, a
/// warp a token. Twin: shared_gate_value.
template <class T>
__global__ void shared_gate(const T* rows, const T* weight, Index tokens, Index width, T* gate) {
  for (Index n = grid_warp(); n < tokens; n += grid_warps()) {
    T sum = 0;
    for (Index c = lane_number(); c < width; c += kWarp) sum += weight[c] * rows[n * width + c];
    sum = warp_sum(sum);
    if (lane_number() == 0) gate[n] = Silu::sigmoid(sum);
  }
}

/// A token's gates and their gradients.
template <class T>
struct SharedGates {
  Index tokens, width;
  int top_k, token_slots;
  const T *gate, *d_gates;  // (N), (N, M)
};

/// d_argument (N) of the sigmoid, and d_rows (N, C) += what the gate's product hands back. Any
/// grid; a block is whole warps, a warp a token. Twin: shared_gate_backward.
template <class T>
__global__ void shared_gate_backward(SharedGates<T> of, const T* weight, T* d_argument, T* d_rows) {
  for (Index n = grid_warp(); n < of.tokens; n += grid_warps()) {
    T d_gate = 0;
    for (int m = of.top_k; m < of.token_slots; ++m) d_gate += of.d_gates[n * of.token_slots + m];
    const T d = d_gate * of.gate[n] * (T{1} - of.gate[n]);
    if (lane_number() == 0) d_argument[n] = d;
    for (Index c = lane_number(); c < of.width; c += kWarp)
      d_rows[n * of.width + c] += d * weight[c];
  }
}

constexpr Index kSharedGateTokens = 64;  // whose part of the weight's gradient one thread adds up

/// parts (ceil(N / kSharedGateTokens), C) of the weight's gradient, which sum_stretches adds up.
/// Any grid, any block. Twin: shared_gate_gradients.
template <class T>
__global__ void shared_gate_parts(const T* rows, const T* d_argument, Index tokens, Index width,
                                  double* parts) {
  const Index stretches = pieces(tokens, kSharedGateTokens);
  for (Index i = grid_thread(); i < stretches * width; i += grid_threads()) {
    const Index c = i % width, first = i / width * kSharedGateTokens;
    T sum = 0;
    for (Index n = first; n < tokens && n < first + kSharedGateTokens; ++n)
      sum += d_argument[n] * rows[n * width + c];
    parts[i] = static_cast<double>(sum);
  }
}

}  // namespace moe::kernels::cuda
