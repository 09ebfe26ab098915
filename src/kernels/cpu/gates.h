#pragma once

#include "kernels/cpu/arguments.h"
#include "kernels/cpu/vector.h"

namespace moe::kernels::cpu::MOE_LEVEL {

template <class T>
inline T sigmoid(T x) {
  return static_cast<T>(1 / (1 + __builtin_exp(-static_cast<double>(x))));
}
template <class T>
inline T log_sigmoid(T x) {
  const double v = static_cast<double>(x);
  return static_cast<T>((v < 0 ? v : 0) - __builtin_log1p(__builtin_exp(v < 0 ? v : -v)));
}

/// values[i] = e^values[i] / their sum.
template <class T>
inline void softmax(T* values, Index count) {
  T most = values[0], sum = 0;
  for (Index i = 1; i < count; ++i) most = values[i] > most ? values[i] : most;
  for (Index i = 0; i < count; ++i) {
    values[i] = static_cast<T>(__builtin_exp(static_cast<double>(values[i] - most)));
    sum += values[i];
  }
  for (Index i = 0; i < count; ++i) values[i] /= sum;
}

/// The K largest of (E) values, the largest first; of equal ones the first.
template <class T>
inline void choose(const T* values, Index experts, Index top_k, std::int32_t* chosen) {
  for (Index k = 0; k < top_k; ++k) {
    Index best = -1;
    for (Index e = 0; e < experts; ++e) {
      bool taken = false;
      for (Index j = 0; j < k; ++j) taken = taken || chosen[j] == e;
      // NaN never wins, yet some expert is always chosen: the loss shows what went wrong.
      if (!taken && (best < 0 || values[e] > values[best])) best = e;
    }
    chosen[k] = static_cast<std::int32_t>(best);
  }
}

/// What the K largest of are chosen by (E): logits, or beside a bias the scores plus it, which are
/// then in `room` (E). An expert whose logit is minus infinity is masked, whatever its bias.
template <class T>
inline const T* choice_values(const Mixture<T>& layer, const T* logits, T* room) {
  if (layer.choice_bias == nullptr) return logits;
  for (Index e = 0; e < layer.experts; ++e)
    room[e] = layer.gate == Gate::sigmoid ? sigmoid(logits[e]) : logits[e];
  if (layer.gate != Gate::sigmoid) softmax(room, layer.experts);
  constexpr T kMasked = -static_cast<T>(__builtin_inff());
  for (Index e = 0; e < layer.experts; ++e)
    room[e] = logits[e] == kMasked ? kMasked : room[e] + layer.choice_bias[e];
  return room;
}

/// The experts of token n, whose logits are given. `room` (E).
template <class T>
inline void choose_experts(const Mixture<T>& layer, Index n, const T* logits, T* room) {
  std::int32_t* chosen = layer.chosen + n * layer.token_slots();
  if (layer.hashed == nullptr)
    return choose(choice_values(layer, logits, room), layer.experts, layer.top_k, chosen);
  const std::int32_t* of_symbol = layer.hashed + layer.symbols[n] * layer.top_k;
  for (Index k = 0; k < layer.top_k; ++k) chosen[k] = of_symbol[k];
}

/// Gates of the chosen (K) of one token. `all` (E) is room to work in.
template <class T>
inline void gate_values(const Mixture<T>& layer, const T* logits, const std::int32_t* chosen,
                        T* all, T* gates) {
  if (layer.gate == Gate::softmax_topk) {
    for (Index e = 0; e < layer.experts; ++e) all[e] = logits[e];
    softmax(all, layer.experts);
    for (Index k = 0; k < layer.top_k; ++k) gates[k] = all[chosen[k]];
    return;
  }
  const bool is_sigmoid = layer.gate == Gate::sigmoid;
  const T scale = static_cast<T>(layer.gate_scale);
  if (is_sigmoid && !layer.gate_norm) {
    for (Index k = 0; k < layer.top_k; ++k) gates[k] = scale * sigmoid(logits[chosen[k]]);
    return;
  }
  for (Index k = 0; k < layer.top_k; ++k)
    gates[k] = is_sigmoid ? log_sigmoid(logits[chosen[k]]) : logits[chosen[k]];
  softmax(gates, layer.top_k);
  if (is_sigmoid)
    for (Index k = 0; k < layer.top_k; ++k) gates[k] *= scale;
}

/// Gradient of one token's logits (E) from that of its gates (K).
template <class T>
inline void gates_backward(const Mixture<T>& layer, const T* logits, const T* gates,
                           const T* d_gates, const std::int32_t* chosen, T* d_logits) {
  T dot = 0;
  for (Index k = 0; k < layer.top_k; ++k) dot += gates[k] * d_gates[k];
  if (layer.gate == Gate::softmax_topk) {
    for (Index e = 0; e < layer.experts; ++e) d_logits[e] = logits[e];
    softmax(d_logits, layer.experts);
    for (Index e = 0; e < layer.experts; ++e) d_logits[e] *= -dot;
    for (Index k = 0; k < layer.top_k; ++k) d_logits[chosen[k]] += gates[k] * d_gates[k];
    return;
  }
  for (Index e = 0; e < layer.experts; ++e) d_logits[e] = 0;
  // A sum of `gate_scale` is divided by, or none.
  const bool is_sigmoid = layer.gate == Gate::sigmoid;
  if (is_sigmoid) dot = layer.gate_norm ? dot / static_cast<T>(layer.gate_scale) : T{0};
  for (Index k = 0; k < layer.top_k; ++k) {
    const T slope = is_sigmoid ? sigmoid(-logits[chosen[k]]) : T{1};
    d_logits[chosen[k]] = gates[k] * (d_gates[k] - dot) * slope;
  }
}

}  // namespace moe::kernels::cpu::MOE_LEVEL
