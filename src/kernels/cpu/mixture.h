#pragma once

#include "kernels/cpu/activation.h"
#include "kernels/cpu/multiply.h"
#include "kernels/cpu/norm.h"
#include "kernels/cpu/random.h"
#include "kernels/cpu/route.h"

namespace moe::kernels::cpu::MOE_LEVEL {

/// Experts work on panels of slots (token, choice), kPanel slots of one expert each. A task is one
/// panel; tasks write different rows, whatever their order.
template <class T>
class ExpertPanels {
 public:
  ExpertPanels(const Mixture<T>& layer, Index expert, T* scratch)
      : layer_(layer), expert_(expert), c_(layer.width), f_(layer.hidden_width), panel_(scratch) {}

  static Index scratch_size(const Mixture<T>& layer) { return layer.width * kPanel; }

  /// hidden and answers of one panel.
  void forward(Index panel) {
    rows_to_panel<T>(
        slots_in(panel), c_, [&](Index i) { return normed_row(panel, i); }, panel_);
    T* hidden = hidden_panel(panel);
    const T* bias = layer_.up.bias + expert_ * f_;
    multiply<Left::row_major>(f_, Factor<T>{layer_.up.weight + expert_ * f_ * c_, c_},
                              Factor<T>{panel_, kPanel}, {c_}, [&](Index m, const Row<T>& row) {
                                store_row(hidden + m * kPanel, map(row, [&](Vec<T> a) {
                                            return Relu::value<T>(a + bias[m]);
                                          }));
                              });
    const T* out_bias = layer_.down.bias + expert_ * c_;
    multiply<Left::row_major>(c_, Factor<T>{layer_.down.weight + expert_ * f_ * c_, f_},
                              Factor<T>{hidden, kPanel}, {f_}, [&](Index m, const Row<T>& row) {
                                store_row(panel_ + m * kPanel,
                                          map(row, [&](Vec<T> a) { return a + out_bias[m]; }));
                              });
    if (layer_.dropout.on) drop(panel, panel_);
    panel_to_rows<T>(panel_, slots_in(panel), c_,
                     [&](Index i) { return layer_.answers + slot(panel, i) * padded(c_); });
  }

  /// Gradients of gates, inputs and hidden values of one panel, and the rows that the weights'
  /// gradients read.
  void backward(Index panel) {
    const Index count = slots_in(panel);
    T* d_answers = layer_.d_answers + panel * c_ * kPanel;
    gate_gradients(panel, count);
    rows_to_panel<T>(
        count, c_, [&](Index i) { return layer_.d_out + slot(panel, i) / layer_.top_k * c_; },
        d_answers);
    T gates[kPanel] = {};
    for (Index i = 0; i < count; ++i) gates[i] = layer_.gates[slot(panel, i)];
    const Row<T> scale = load_row(gates);
    for (Index c = 0; c < c_; ++c)
      store_row(d_answers + c * kPanel, map(load_row(d_answers + c * kPanel), scale,
                                            [](Vec<T> a, Vec<T> b) { return a * b; }));
    if (layer_.dropout.on) drop(panel, d_answers);
    const T* hidden = hidden_panel(panel);
    T* d_hidden = layer_.d_hidden + panel * f_ * kPanel;
    multiply<Left::column_major>(
        f_, Factor<T>{layer_.down.weight + expert_ * f_ * c_, f_}, Factor<T>{d_answers, kPanel},
        {c_}, [&](Index m, const Row<T>& row) {
          store_row(d_hidden + m * kPanel,
                    map(row, load_row(hidden + m * kPanel),
                        [](Vec<T> g, Vec<T> h) { return Relu::gradient<T>(g, h); }));
        });
    multiply<Left::column_major>(
        c_, Factor<T>{layer_.up.weight + expert_ * f_ * c_, c_}, Factor<T>{d_hidden, kPanel}, {f_},
        [&](Index m, const Row<T>& row) { store_row(panel_ + m * kPanel, row); });
    panel_to_rows<T>(panel_, count, c_,
                     [&](Index i) { return layer_.d_inputs + slot(panel, i) * padded(c_); });
    keep_rows(panel, count);
  }

 private:
  Index slot(Index panel, Index i) const { return layer_.slots[panel * kPanel + i]; }
  Index slots_in(Index panel) const {
    Index count = 0;
    while (count < kPanel && slot(panel, count) >= 0) ++count;
    return count;
  }
  T* hidden_panel(Index panel) const { return layer_.hidden + panel * f_ * kPanel; }
  const T* normed_row(Index panel, Index i) const {
    return layer_.normed + slot(panel, i) / layer_.top_k * padded(c_);
  }

  /// Draws are numbered choice by choice, each choice's rounded up to whole blocks.
  void drop(Index panel, T* values) {
    const Index count = slots_in(panel), k = layer_.top_k;
    const TokenLanes lanes = token_lanes(layer_.keys, [&](int i) {
      const Index mine = slot(panel, i < count ? i : count - 1);
      return LaneKey{mine / k, mine % k * blocks_of(c_)};
    });
    drop_panel(layer_.dropout, lanes, 0, c_, values);
  }

  void gate_gradients(Index panel, Index count) {
    for (Index i = 0; i < count; ++i) {
      const T* d_out = layer_.d_out + slot(panel, i) / layer_.top_k * c_;
      const T* answer = layer_.answers + slot(panel, i) * padded(c_);
      Vec<T> sums{};
      for (Index c = 0; c < c_; c += kLanes<T>)
        sums += load_part(d_out + c, c_ - c) * load_part(answer + c, c_ - c);
      layer_.d_gates[slot(panel, i)] = sum_of<T>(sums);
    }
  }

  /// hidden and inputs as rows of slots, zeros for the slots that fill the panel up.
  void keep_rows(Index panel, Index count) {
    const Index wide = padded(f_), narrow = padded(c_);
    T* hidden = layer_.hidden_rows + panel * kPanel * wide;
    panel_to_rows<T>(hidden_panel(panel), kPanel, f_, [&](Index i) { return hidden + i * wide; });
    T* inputs = layer_.input_rows + panel * kPanel * narrow;
    for (Index i = 0; i < kPanel; ++i) {
      for (Index f = f_; f < wide; ++f) hidden[i * wide + f] = 0;
      for (Index c = 0; c < narrow; ++c)
        inputs[i * narrow + c] = i < count ? normed_row(panel, i)[c] : T{0};
    }
  }

  const Mixture<T>& layer_;
  Index expert_, c_, f_;
  T* panel_;  // (C, kPanel)
};

/// out = x + gated answers of the tokens of one panel; choices beyond an expert's capacity give 0.
template <class T>
void combine_tokens(const Mixture<T>& layer, Index panel) {
  const Index c = layer.width, k = layer.top_k;
  const Index first = panel * kPanel;
  const Index last = first + kPanel < layer.tokens ? first + kPanel : layer.tokens;
  for (Index n = first; n < last; ++n) {
    const T* x = layer.x + n * c;
    T* out = layer.out + n * c;
    for (Index i = 0; i < c; ++i) out[i] = x[i];
    for (Index slot = n * k; slot < (n + 1) * k; ++slot) {
      if (layer.is_kept[slot] == 0) continue;
      const T gate = layer.gates[slot];
      const T* answer = layer.answers + slot * padded(c);
      for (Index i = 0; i < c; ++i) out[i] += gate * answer[i];
    }
  }
}

/// d_x of the tokens of one panel: the residual path, the experts' inputs, the router, the norm.
/// Keeps d_logits. scratch: (C, kPanel) and (kPanel, padded(C)).
template <class T>
void tokens_backward(const Mixture<T>& layer, Index panel, T* scratch) {
  const Index c = layer.width, k = layer.top_k, e = layer.experts;
  const Index first = panel * kPanel;
  const Index count = first + kPanel < layer.tokens ? kPanel : layer.tokens - first;
  T *d_normed = scratch, *rows = scratch + c * kPanel;
  T* d_logits = layer.d_logits + panel * 2 * e * kPanel;
  logit_gradients(layer, first, count, d_logits);
  multiply<Left::column_major>(
      c, Factor<T>{layer.route.weight, c}, Factor<T>{d_logits, kPanel}, {e},
      [&](Index m, const Row<T>& row) { store_row(d_normed + m * kPanel, row); });
  if (layer.draws != nullptr)
    multiply<Left::column_major>(
        c, Factor<T>{layer.noise.weight, c}, Factor<T>{d_logits + e * kPanel, kPanel}, {e},
        [&](Index m, const Row<T>& row) {
          T* at = d_normed + m * kPanel;
          store_row(at, map(row, load_row(at), [](Vec<T> a, Vec<T> b) { return a + b; }));
        });
  panel_to_rows<T>(d_normed, count, c, [&](Index i) { return rows + i * padded(c); });
  T* parts = layer.norm_parts + panel * 2 * padded(c);
  for (Index i = 0; i < 2 * padded(c); ++i) parts[i] = 0;
  for (Index i = 0; i < count; ++i) {
    const Index n = first + i;
    T* row = rows + i * padded(c);
    for (Index slot = n * k; slot < (n + 1) * k; ++slot) {
      if (layer.is_kept[slot] == 0) continue;
      const T* d_input = layer.d_inputs + slot * padded(c);
      for (Index j = 0; j < c; ++j) row[j] += d_input[j];
    }
    for (Index j = 0; j < c; ++j) layer.d_x[n * c + j] = layer.d_out[n * c + j];
    normalise_backward(layer.norm, n, layer.x + n * c, row, c, layer.d_x + n * c, parts);
  }
}

/// Gradients of the parameters in tasks that write different rows: first the router's and the
/// norm's, then for each expert kUpRows rows of up each, and kDownRows of down.
inline constexpr Index kUpRows = 96, kDownRows = 24;

template <class T>
Index mixture_gradient_tasks(const Mixture<T>& layer) {
  const Index up = (layer.hidden_width + kUpRows - 1) / kUpRows;
  const Index down = (layer.width + kDownRows - 1) / kDownRows;
  return 1 + layer.experts * (up + down);
}

template <class T>
void router_gradients(const Mixture<T>& layer) {
  const Index e = layer.experts, c = layer.width, panels = panels_of(layer.tokens);
  const bool fresh = layer.fresh_gradients;
  sum_norm_parts(layer.norm, layer.norm_parts, panels, c, fresh);
  const Factor<T> clean{layer.d_logits, kPanel, 2 * e * kPanel};
  weight_gradient(e, c, clean, layer.normed, panels, layer.route.d_weight, fresh);
  bias_gradient(e, clean, panels, layer.route.d_bias, fresh);
  if (layer.noise.weight == nullptr) return;
  const Factor<T> noisy{layer.d_logits + e * kPanel, kPanel, 2 * e * kPanel};
  weight_gradient(e, c, noisy, layer.normed, panels, layer.noise.d_weight, fresh);
  bias_gradient(e, noisy, panels, layer.noise.d_bias, fresh);
}

template <class T>
void mixture_gradients(const Mixture<T>& layer, Index task) {
  if (task == 0) return router_gradients(layer);
  const Index c = layer.width, f = layer.hidden_width;
  const Index up = (f + kUpRows - 1) / kUpRows, down = (c + kDownRows - 1) / kDownRows;
  const Index expert = (task - 1) / (up + down), part = (task - 1) % (up + down);
  const Index panel = layer.first_panel[expert];
  const Index panels = layer.first_panel[expert + 1] - panel;
  const bool fresh = layer.fresh_gradients;
  if (part < up) {
    const Index first = part * kUpRows, rows = f - first < kUpRows ? f - first : kUpRows;
    const Factor<T> left{layer.d_hidden + (panel * f + first) * kPanel, kPanel, f * kPanel};
    weight_gradient(rows, c, left, layer.input_rows + panel * kPanel * padded(c), panels,
                    layer.up.d_weight + (expert * f + first) * c, fresh);
    return bias_gradient(rows, left, panels, layer.up.d_bias + expert * f + first, fresh);
  }
  const Index first = (part - up) * kDownRows, rows = c - first < kDownRows ? c - first : kDownRows;
  const Factor<T> left{layer.d_answers + (panel * c + first) * kPanel, kPanel, c * kPanel};
  weight_gradient(rows, f, left, layer.hidden_rows + panel * kPanel * padded(f), panels,
                  layer.down.d_weight + (expert * c + first) * f, fresh);
  bias_gradient(rows, left, panels, layer.down.d_bias + expert * c + first, fresh);
}

}  // namespace moe::kernels::cpu::MOE_LEVEL
