#pragma once

#include "kernels/cpu/linear.h"
#include "kernels/cpu/norm.h"
#include "kernels/cpu/random.h"

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

/// The K largest of (E) logits, the largest first; of equal ones the first.
template <class T>
inline void choose(const T* logits, Index experts, Index top_k, std::int32_t* chosen) {
  for (Index k = 0; k < top_k; ++k) {
    Index best = -1;
    for (Index e = 0; e < experts; ++e) {
      bool taken = false;
      for (Index j = 0; j < k; ++j) taken = taken || chosen[j] == e;
      // NaN never wins, yet some expert is always chosen: the loss shows what went wrong.
      if (!taken && (best < 0 || logits[e] > logits[best])) best = e;
    }
    chosen[k] = static_cast<std::int32_t>(best);
  }
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
  for (Index k = 0; k < layer.top_k; ++k)
    gates[k] = layer.gate == Gate::sigmoid ? log_sigmoid(logits[chosen[k]]) : logits[chosen[k]];
  softmax(gates, layer.top_k);
}

/// Draws of expert rows [0, E) of the tokens of one panel, (blocks of four of E, kPanel) in `to`.
template <class T>
inline void noise_draws(const Mixture<T>& layer, Index first, Index count, T* to) {
  const Index e = layer.experts;
  if (layer.draws != nullptr)
    return rows_to_panel<T>(
        count, e, [&](Index i) { return layer.draws + (first + i) * e; }, to);
  const TokenLanes lanes =
      token_lanes(layer.keys, [&](int i) { return LaneKey{first + (i < count ? i : count - 1)}; });
  for (Index block = 0; block < blocks_of(e); ++block)
    normal_block(layer.normals, lanes, block, to + block * 4 * kPanel);
}

/// logits (E, kPanel) += draw * softplus(scale), whose slope (E, kPanel) replaces scale.
template <class T>
inline void add_noise(Index experts, const T* draws, T* logits, T* scale) {
  for (Index j = 0; j < experts * kPanel; j += kLanes<T>) {
    const Vec<T> raw = load(scale + j), draw = load(draws + j);
    store(logits + j, load(logits + j) + draw * softplus<T>(raw));
    store(scale + j, draw * softplus_slope<T>(raw));
  }
}

/// rows (N, E) of a panel (E, kPanel)'s tokens.
template <class T>
inline void write_rows(const Mixture<T>& layer, Index first, Index count, const T* panel, T* rows) {
  panel_to_rows<T>(panel, count, layer.experts,
                   [&](Index i) { return rows + (first + i) * layer.experts; });
}

/// noise_std of the panel whose scale (E, kPanel) is given. `to` (E, kPanel) is room to work in.
template <class T>
inline void write_noise_std(const Mixture<T>& layer, Index first, Index count, const T* scale,
                            T* to) {
  for (Index j = 0; j < layer.experts * kPanel; j += kLanes<T>)
    store(to + j, softplus<T>(load(scale + j)));
  write_rows(layer, first, count, to, layer.noise_std);
}

/// Norm, logits, noise, choice and gates of the tokens of one panel.
/// scratch: (C, kPanel), (E, kPanel) twice, (blocks of four of E, kPanel), (E).
template <class T>
void route_tokens(const Mixture<T>& layer, Index panel, T* scratch) {
  const Index c = layer.width, e = layer.experts, first = panel * kPanel;
  const Index count = first + kPanel < layer.tokens ? kPanel : layer.tokens - first;
  T *values = scratch, *logits = values + c * kPanel, *scale = logits + e * kPanel;
  T *draws = scale + e * kPanel, *all = draws + blocks_of(e) * 4 * kPanel;
  T* normed = layer.normed + first * padded(c);
  normalise_panel(layer.norm, first, count, layer.x + first * c, c, normed);
  rows_to_panel<T>(
      kPanel, c, [&](Index i) { return normed + i * padded(c); }, values);
  const auto linear = [&](const Linear<T>& map_, T* to) {
    apply_linear<T>(map_.weight, map_.bias, e, c, {values}, {to});
  };
  linear(layer.route, logits);
  if (layer.clean_logits != nullptr) write_rows(layer, first, count, logits, layer.clean_logits);
  if (layer.noisy || layer.noise_std != nullptr) linear(layer.noise, scale);
  if (layer.noise_std != nullptr) write_noise_std(layer, first, count, scale, draws);
  if (layer.noisy) {
    noise_draws(layer, first, count, draws);
    add_noise(e, draws, logits, scale);
    if (layer.keeps) write_rows(layer, first, count, scale, layer.noise_slope);
  }
  write_rows(layer, first, count, logits, layer.logits);
  for (Index n = first; n < first + count; ++n) {
    const T* mine = layer.logits + n * e;
    choose(mine, e, layer.top_k, layer.chosen + n * layer.top_k);
    gate_values(layer, mine, layer.chosen + n * layer.top_k, all, layer.gates + n * layer.top_k);
  }
}

template <class T>
Index route_scratch(const Mixture<T>& layer) {
  const Index e = layer.experts;
  return (layer.width + 2 * e + blocks_of(e) * 4) * kPanel + padded(e);
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
  for (Index k = 0; k < layer.top_k; ++k) {
    const T slope = layer.gate == Gate::sigmoid ? sigmoid(-logits[chosen[k]]) : T{1};
    d_logits[chosen[k]] = gates[k] * (d_gates[k] - dot) * slope;
  }
}

/// d_logits (2E, kPanel) of `count` tokens from `first` on; zeros for lanes beyond. A choice beyond
/// an expert's capacity gave nothing, so that its gate has no gradient.
template <class T>
inline void logit_gradients(const Mixture<T>& layer, Index first, Index count, T* d_logits) {
  const Index e = layer.experts, k = layer.top_k;
  for (Index i = 0; i < 2 * e * kPanel; ++i) d_logits[i] = 0;
  for (Index i = 0; i < count; ++i) {
    const Index n = first + i;
    T* d_gates = layer.d_gates + n * k;
    for (Index j = 0; j < k; ++j)
      if (!layer.serves(n * k + j)) d_gates[j] = 0;
    T* d_mine = layer.d_token_logits + n * e;
    gates_backward(layer, layer.logits + n * e, layer.gates + n * k, d_gates, layer.chosen + n * k,
                   d_mine);
    for (Index j = 0; j < e; ++j) {
      d_logits[j * kPanel + i] = d_mine[j];
      if (layer.noisy) d_logits[(e + j) * kPanel + i] = d_mine[j] * layer.noise_slope[n * e + j];
    }
  }
}

}  // namespace moe::kernels::cpu::MOE_LEVEL
