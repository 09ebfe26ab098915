#pragma once

#include "kernels/cpu/balance.h"
#include "kernels/cpu/gates.h"
#include "kernels/cpu/linear.h"
#include "kernels/cpu/norm.h"
#include "kernels/cpu/random.h"
#include "kernels/cpu/shared_experts.h"
#include "kernels/cpu/short_conv.h"

namespace moe::kernels::cpu::MOE_LEVEL {

/// Draws of each lane are those of its token in the panel from `first` on.
template <class T>
inline TokenLanes panel_lanes(const Mixture<T>& layer, Index first, Index count) {
  return token_lanes(layer.keys,
                     [&](int i) { return LaneKey{first + (i < count ? i : count - 1)}; });
}

/// values (C, kPanel) of a panel's tokens times their factors, which are the same in backward.
template <class T>
inline void jitter_panel(const Mixture<T>& layer, Index first, Index count, T* values) {
  const TokenLanes lanes = panel_lanes(layer, first, count);
  for (Index block = 0; block < blocks_of(layer.width); ++block) {
    const Words words =
        philox(lanes, static_cast<std::uint32_t>(block), layer.jitter.site, layer.jitter.key);
    for (Index w = 0; w < 4 && 4 * block + w < layer.width; ++w) {
      std::uint32_t drawn[kPanel];
      __builtin_memcpy(drawn, words.v[w], sizeof drawn);
      for (int i = 0; i < kPanel; ++i)
        values[(4 * block + w) * kPanel + i] *= static_cast<T>(
            1 + layer.jitter.reach * (2 * (static_cast<double>(drawn[i]) * 0x1p-32) - 1));
    }
  }
}

/// What the router sees of a panel's tokens, into `values` (C, kPanel).
template <class T>
inline void read_router_input(const Mixture<T>& layer, Index first, Index count, T* values) {
  const Index c = layer.width;
  const T* normed = layer.normed + first * padded(c);
  rows_to_panel<T>(
      kPanel, c, [&](Index i) { return normed + i * padded(c); }, values);
  if (layer.jitter.reach == 0) return;
  jitter_panel(layer, first, count, values);
  T* seen = layer.router_input + first * padded(c);
  for (Index i = 0; i < kPanel * padded(c); ++i) seen[i] = 0;
  panel_to_rows<T>(values, kPanel, c, [&](Index i) { return seen + i * padded(c); });
}

/// Draws of expert rows [0, E) of the tokens of one panel, (blocks of four of E, kPanel) in `to`.
template <class T>
inline void noise_draws(const Mixture<T>& layer, Index first, Index count, T* to) {
  const Index e = layer.experts;
  if (layer.draws != nullptr)
    return rows_to_panel<T>(
        count, e, [&](Index i) { return layer.draws + (first + i) * e; }, to);
  const TokenLanes lanes = panel_lanes(layer, first, count);
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

/// The norm of the tokens of one panel, for a convolution that reads over panels.
template <class T>
void normalise_tokens(const Mixture<T>& layer, Index panel) {
  const Index first = panel * kPanel, left = layer.tokens - first;
  normalise_rows(layer.norm, first, layer.conv, first, left < kPanel ? left : kPanel,
                 layer.x + first * layer.width, layer.width);
}

/// Logits, noise, choice and gates of the `count` tokens from `first` on.
/// scratch: (C, kPanel), (E, kPanel) twice, (blocks of four of E, kPanel), (E).
template <class T>
inline void choose_for_panel(const Mixture<T>& layer, Index first, Index count, T* scratch) {
  const Index c = layer.width, e = layer.experts;
  T *values = scratch, *logits = values + c * kPanel, *scale = logits + e * kPanel;
  T *draws = scale + e * kPanel, *all = draws + blocks_of(e) * 4 * kPanel;
  read_router_input(layer, first, count, values);
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
    const Index slot = n * layer.token_slots();
    choose_experts(layer, n, mine, all);
    gate_values(layer, mine, layer.chosen + slot, all, layer.gates + slot);
  }
}

/// Norm (unless normalise_tokens came before) and slots of the tokens of one panel. scratch: that
/// of choose_for_panel.
template <class T>
void route_tokens(const Mixture<T>& layer, Index panel, T* scratch) {
  const Index c = layer.width, first = panel * kPanel;
  const Index count = first + kPanel < layer.tokens ? kPanel : layer.tokens - first;
  T* normed = layer.normed + first * padded(c);
  if (convolves(layer.conv))
    convolve_panel(layer.conv, first, count, c, normed);
  else
    normalise_panel(layer.norm, first, count, layer.x + first * c, c, normed);
  if (layer.experts > 0) choose_for_panel(layer, first, count, scratch);
  for (Index n = first; n < first + count; ++n) fill_shared_slots(layer, n);
}

template <class T>
Index route_scratch(const Mixture<T>& layer) {
  const Index e = layer.experts;
  return (layer.width + 2 * e + blocks_of(e) * 4) * kPanel + padded(e);
}

/// Gradient of the logits (E) that token n was routed by, from those of its gates. A choice beyond
/// an expert's capacity gave nothing, so that the answer's part of its gate's gradient is 0.
template <class T>
inline void token_logit_gradients(const Mixture<T>& layer, Index n, T* d_logits) {
  const Index slot = n * layer.token_slots();
  T* d_gates = layer.d_gates + slot;
  for (Index j = 0; j < layer.top_k; ++j)
    if (!layer.serves(slot + j)) d_gates[j] = 0;
  if (layer.balance.on) add_importance_gradients(layer, n, d_gates);
  gates_backward(layer, layer.logits + n * layer.experts, layer.gates + slot, d_gates,
                 layer.chosen + slot, d_logits);
}

/// d_logits (2E, kPanel) of `count` tokens from `first` on; zeros for lanes beyond. scratch: (2E).
template <class T>
inline void logit_gradients(const Mixture<T>& layer, Index first, Index count, T* d_logits,
                            T* scratch) {
  const Index e = layer.experts;
  T *d_clean = scratch, *d_noise = scratch + e;
  for (Index i = 0; i < 2 * e * kPanel; ++i) d_logits[i] = 0;
  for (Index i = 0; i < count; ++i) {
    const Index n = first + i;
    T* d_mine = layer.d_token_logits + n * e;
    token_logit_gradients(layer, n, d_mine);
    if (layer.balance.on) side_gradients(layer, n, d_mine, d_clean, d_noise);
    for (Index j = 0; j < e; ++j) {
      d_logits[j * kPanel + i] = d_mine[j];
      if (layer.noisy) d_logits[(e + j) * kPanel + i] = d_mine[j] * layer.noise_slope[n * e + j];
    }
    if (!layer.balance.on) continue;
    for (Index j = 0; j < e; ++j) {
      d_logits[j * kPanel + i] += d_clean[j];
      if (layer.noisy) d_logits[(e + j) * kPanel + i] += d_noise[j];
    }
  }
}

}  // namespace moe::kernels::cpu::MOE_LEVEL
