#pragma once

#include "kernels/cpu/gates.h"
#include "kernels/cpu/linear.h"

namespace moe::kernels::cpu::MOE_LEVEL {

// The stage of the experts that every token has (DeepSeekMoE; Dai et al. 2024, arXiv 2401.06066).
// They are the last of the stacked experts, and a token's last slots are theirs, so that all that
// works on slots serves them too. Their gates are 1, or, as in Qwen2-MoE, one sigmoid of a token
// for all of them.

template <class T>
inline T shared_gate_value(const Mixture<T>& layer, Index n) {
  if (!layer.gates_shared) return 1;
  const T *weight = layer.shared_gate.weight, *row = layer.normed + n * padded(layer.width);
  Vec<T> sums{};
  for (Index c = 0; c < layer.width; c += kLanes<T>)
    sums += load_part(weight + c, layer.width - c) * load(row + c);  // the row ends with zeros
  return sigmoid(sum_of<T>(sums));
}

/// The slots of token n that nothing is chosen for.
template <class T>
inline void fill_shared_slots(const Mixture<T>& layer, Index n) {
  if (layer.shared == 0) return;
  const T gate = shared_gate_value(layer, n);
  const Index first = n * layer.token_slots() + layer.top_k;
  for (Index s = 0; s < layer.shared; ++s) {
    layer.chosen[first + s] = static_cast<std::int32_t>(layer.experts + s);
    layer.gates[first + s] = gate;
  }
}

/// Gradients of the gates' arguments of a panel's `count` tokens from `first` on, 0 for lanes
/// beyond; adds their part to those of the tokens' norms, rows (count, padded(C)).
template <class T>
inline void shared_gate_backward(const Mixture<T>& layer, Index first, Index count, T* rows) {
  if (!layer.gates_shared) return;
  T* d_arguments = layer.d_shared + first;
  for (Index i = 0; i < kPanel; ++i) d_arguments[i] = 0;
  for (Index i = 0; i < count; ++i) {
    const Index slot = (first + i) * layer.token_slots() + layer.top_k;
    const T gate = layer.gates[slot];
    T d_gate = 0;
    for (Index s = 0; s < layer.shared; ++s) d_gate += layer.d_gates[slot + s];
    d_arguments[i] = d_gate * gate * (1 - gate);
    for (Index c = 0; c < layer.width; ++c)
      rows[i * padded(layer.width) + c] += d_arguments[i] * layer.shared_gate.weight[c];
  }
}

template <class T>
inline void shared_gate_gradients(const Mixture<T>& layer) {
  if (!layer.gates_shared) return;
  weight_gradient(1, layer.width, Factor<T>{layer.d_shared, kPanel, kPanel},
                  token_rows<T>(layer.normed, layer.width), panels_of(layer.tokens),
                  layer.shared_gate.d_weight);
}

}  // namespace moe::kernels::cpu::MOE_LEVEL
