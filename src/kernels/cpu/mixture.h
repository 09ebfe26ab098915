#pragma once

#include "kernels/cpu/activation.h"
#include "kernels/cpu/linear.h"
#include "kernels/cpu/norm.h"
#include "kernels/cpu/random.h"
#include "kernels/cpu/route.h"
#include "kernels/cpu/short_conv.h"

namespace moe::kernels::cpu::MOE_LEVEL {

/// Experts work on panels of slots (token, choice), kPanel slots of one expert each. Tasks write
/// different rows, whatever their order.
template <class T>
class ExpertPanels {
 public:
  ExpertPanels(const Mixture<T>& layer, const ExpertTask& task, T* scratch)
      : layer_(layer),
        first_(task.first),
        count_(task.count),
        c_(layer.width),
        f_(layer.hidden_width),
        u_(layer.up_width),
        m_(layer.token_slots()),
        has_gates_(task.expert < layer.experts || layer.gates_shared),
        up_(layer.up.stacked(task.expert, u_, c_)),
        down_(layer.down.stacked(task.expert, c_, f_)),
        panels_(scratch),
        hidden_(layer.keeps ? layer.hidden + first_ * u_ * kPanel : room_for_hidden(scratch)),
        values_(needs_both(layer) ? room_for_hidden(scratch) : hidden_) {}

  static Index scratch_size(const Mixture<T>& layer) {
    const Index kept = needs_both(layer) ? layer.hidden_width : 0;
    const Index hidden = layer.keeps ? kept : layer.up_width;
    return kExpertPanels * (layer.width + hidden) * kPanel;
  }

  /// hidden and answers.
  void forward() {
    for (Index p = 0; p < count_; ++p)
      rows_to_panel<T>(
          slots_in(p), c_, [&](Index i) { return normed_row(p, i); }, panel(p));
    apply_linear<T>(up_.weight, up_.bias, u_, c_, panels(), {hidden_, count_, u_ * kPanel});
    for (Index p = 0; p < count_; ++p)
      activate(layer_.activation, hidden(p), beside(hidden(p)), f_ * kPanel, values(p));
    apply_linear<T>(down_.weight, down_.bias, c_, f_, {values_, count_, f_ * kPanel}, panels());
    for (Index p = 0; p < count_; ++p) {
      if (layer_.dropout.on) drop(p, panel(p));
      panel_to_rows<T>(panel(p), slots_in(p), c_,
                       [&](Index i) { return layer_.answers + slot(p, i) * padded(c_); });
    }
  }

  /// Gradients of gates, inputs and hidden values, and what the weights' gradients read.
  void backward() {
    for (Index p = 0; p < count_; ++p) answer_gradients(p);
    T* d_hidden = layer_.d_hidden + first_ * u_ * kPanel;
    // Gradients of the values lie where those of the last arguments will.
    linear_backward<T>(down_.weight, c_, f_, {d_answers(0), count_, c_ * kPanel},
                       {d_hidden + (u_ - f_) * kPanel, count_, u_ * kPanel});
    for (Index p = 0; p < count_; ++p) {
      T* d = d_hidden + p * u_ * kPanel;
      activate_backward(layer_.activation, hidden(p), beside(hidden(p)), f_ * kPanel, d, beside(d),
                        values(p));
    }
    linear_backward<T>(up_.weight, u_, c_, {d_hidden, count_, u_ * kPanel}, panels());
    for (Index p = 0; p < count_; ++p) {
      panel_to_rows<T>(panel(p), slots_in(p), c_,
                       [&](Index i) { return layer_.d_inputs + slot(p, i) * padded(c_); });
      keep_turned(p);
    }
  }

 private:
  /// Whether hidden values are apart from what is kept for backward.
  static bool needs_both(const Mixture<T>& layer) {
    return layer.keeps && !keeps_value(layer.activation);
  }
  T* room_for_hidden(T* scratch) const { return scratch + kExpertPanels * c_ * kPanel; }

  // Panel p of the task, from here on.
  Index slot(Index p, Index i) const { return layer_.slots[(first_ + p) * kPanel + i]; }
  Index token(Index p, Index i) const { return slot(p, i) / m_; }
  Index slots_in(Index p) const {
    Index count = 0;
    while (count < kPanel && slot(p, count) >= 0) ++count;
    return count;
  }
  T* panel(Index p) const { return panels_ + p * c_ * kPanel; }
  TokenPanels<T> panels() const { return {panels_, count_, c_ * kPanel}; }
  T* hidden(Index p) const { return hidden_ + p * u_ * kPanel; }
  T* values(Index p) const { return values_ + p * f_ * kPanel; }
  /// The second half of a panel of gated arguments; else the panel.
  T* beside(T* arguments) const { return arguments + (u_ - f_) * kPanel; }
  T* d_answers(Index p) const { return layer_.d_answers + (first_ + p) * c_ * kPanel; }
  const T* normed_row(Index p, Index i) const { return layer_.normed + token(p, i) * padded(c_); }

  /// Draws are numbered choice by choice, each choice's rounded up to whole blocks.
  void drop(Index p, T* values) {
    const Index count = slots_in(p);
    const TokenLanes lanes = token_lanes(layer_.keys, [&](int i) {
      const Index mine = slot(p, i < count ? i : count - 1);
      return LaneKey{mine / m_, mine % m_ * blocks_of(c_)};
    });
    drop_panel(layer_.dropout, lanes, 0, c_, values);
  }

  void answer_gradients(Index p) {
    const Index count = slots_in(p);
    if (has_gates_) gate_gradients(p, count);
    T* d_answer = d_answers(p);
    rows_to_panel<T>(
        count, c_, [&](Index i) { return layer_.d_out + token(p, i) * c_; }, d_answer);
    T gates[kPanel] = {};
    for (Index i = 0; i < count; ++i) gates[i] = layer_.gates[slot(p, i)];
    const Row<T> scale = load_row(gates);
    for (Index c = 0; c < c_; ++c)
      store_row(d_answer + c * kPanel, map(load_row(d_answer + c * kPanel), scale,
                                           [](Vec<T> a, Vec<T> b) { return a * b; }));
    if (layer_.dropout.on) drop(p, d_answer);
  }

  void gate_gradients(Index p, Index count) {
    for (Index i = 0; i < count; ++i) {
      const T* d_out = layer_.d_out + token(p, i) * c_;
      const T* answer = layer_.answers + slot(p, i) * padded(c_);
      Vec<T> sums{};
      for (Index c = 0; c < c_; c += kLanes<T>)
        sums += load_part(d_out + c, c_ - c) * load_part(answer + c, c_ - c);
      layer_.d_gates[slot(p, i)] = sum_of<T>(sums);
    }
  }

  /// Hidden values and inputs with features side by side. Slots that fill the panel up count for
  /// nothing: their gradients are 0.
  void keep_turned(Index p) {
    turn_panel(values(p), f_, layer_.hidden_turned + (first_ + p) * padded(f_) * kPanel);
    const Index count = slots_in(p);
    T* inputs = layer_.input_turned + (first_ + p) * padded(c_) * kPanel;
    for (Index c = 0; c < padded(c_); c += kPanel)
      for (Index i = 0; i < kPanel; ++i)
        store_row(inputs + c * kPanel + i * kPanel,
                  i < count ? load_row(normed_row(p, i) + c) : Row<T>{});
  }

  const Mixture<T>& layer_;
  Index first_, count_, c_, f_, u_;
  Index m_;              // slots of a token
  bool has_gates_;       // that are not always 1
  Linear<T> up_, down_;  // of the expert
  T* panels_;            // (count, C, kPanel)
  T* hidden_;            // (count, U, kPanel) what is kept of hidden values
  T* values_;            // (count, F, kPanel) the values: elsewhere, or from the same place on
};

/// out = x + gated answers of the tokens of one panel; choices beyond an expert's capacity give 0.
template <class T>
void combine_tokens(const Mixture<T>& layer, Index panel) {
  const Index c = layer.width, m = layer.token_slots();
  const Index first = panel * kPanel;
  const Index last = first + kPanel < layer.tokens ? first + kPanel : layer.tokens;
  for (Index n = first; n < last; ++n) {
    const T* x = layer.x + n * c;
    T* out = layer.out + n * c;
    for (Index i = 0; i < c; ++i) out[i] = x[i];
    for (Index slot = n * m; slot < (n + 1) * m; ++slot) {
      if (!layer.serves(slot)) continue;
      const T gate = layer.gates[slot];
      const T* answer = layer.answers + slot * padded(c);
      for (Index i = 0; i < c; ++i) out[i] += gate * answer[i];
    }
  }
}

/// d_x of the tokens of one panel, from the gradients of their normed rows (count, padded(C)).
template <class T>
inline void norm_backward(const Mixture<T>& layer, Index panel, const T* d_rows) {
  const Index c = layer.width, first = panel * kPanel, left = layer.tokens - first;
  normalise_panel_backward(layer.norm, first, left < kPanel ? left : kPanel, layer.x + first * c,
                           d_rows, layer.d_out + first * c, c, layer.d_x + first * c,
                           clear_norm_parts(layer.norm_parts + panel * 2 * padded(c), c));
}

/// Gradients of a panel's router inputs, rows (count, padded(C)): 0 without a router. Keeps
/// d_logits. d_normed: (C, kPanel), or (2E), to work in.
template <class T>
inline void router_backward(const Mixture<T>& layer, Index panel, Index count, T* d_normed,
                            T* rows) {
  const Index c = layer.width, e = layer.experts, first = panel * kPanel;
  if (e == 0) {
    for (Index i = 0; i < count * padded(c); ++i) rows[i] = 0;
    return;
  }
  T* d_logits = layer.d_logits + panel * 2 * e * kPanel;
  logit_gradients(layer, first, count, d_logits, d_normed);
  linear_backward<T>(layer.route.weight, e, c, {d_logits}, {d_normed});
  if (layer.noisy)
    linear_backward<T>(layer.noise.weight, e, c, {d_logits + e * kPanel}, {d_normed}, true);
  if (layer.jitter.reach > 0) jitter_panel(layer, first, count, d_normed);
  panel_to_rows<T>(d_normed, count, c, [&](Index i) { return rows + i * padded(c); });
}

/// d_x of the tokens of one panel: the residual path, the experts' inputs, the router, the norm;
/// with a convolution between them, d_convolved instead. scratch: (C, kPanel) and (kPanel,
/// padded(C)), or (2E).
template <class T>
void tokens_backward(const Mixture<T>& layer, Index panel, T* scratch) {
  const Index c = layer.width, m = layer.token_slots(), first = panel * kPanel;
  const Index count = first + kPanel < layer.tokens ? kPanel : layer.tokens - first;
  T* rows = convolves(layer.conv) ? layer.d_convolved + first * padded(c) : scratch + c * kPanel;
  router_backward(layer, panel, count, scratch, rows);
  for (Index i = 0; i < count; ++i)
    for (Index slot = (first + i) * m; slot < (first + i + 1) * m; ++slot) {
      if (!layer.serves(slot)) continue;
      const T* d_input = layer.d_inputs + slot * padded(c);
      for (Index j = 0; j < c; ++j) rows[i * padded(c) + j] += d_input[j];
    }
  shared_gate_backward(layer, first, count, rows);
  if (!convolves(layer.conv)) norm_backward(layer, panel, rows);
}

/// The rest of tokens_backward, once the gradients of all panels' convolved rows are there.
/// scratch: (kPanel, padded(C)).
template <class T>
void convolution_backward(const Mixture<T>& layer, Index panel, T* scratch) {
  const Index c = layer.width, first = panel * kPanel, left = layer.tokens - first;
  T* parts = clear_conv_parts(layer.conv, panel, c);
  for (Index i = 0; i < (left < kPanel ? left : kPanel); ++i)
    convolve_backward(layer.conv, first + i, layer.d_convolved + (first + i) * padded(c), c,
                      scratch + i * padded(c), parts);
  norm_backward(layer, panel, scratch);
}

/// Gradients of the parameters of router, shared experts' gate, convolution and norm.
template <class T>
void router_gradients(const Mixture<T>& layer) {
  const Index e = layer.experts, c = layer.width, panels = panels_of(layer.tokens);
  sum_norm_parts(layer.norm, layer.norm_parts, panels, c);
  sum_conv_parts(layer.conv, panels, c);
  shared_gate_gradients(layer);
  if (e == 0) return;
  const Factor<T> clean{layer.d_logits, kPanel, 2 * e * kPanel};
  const TokenFactor<T> input = token_rows<T>(layer.router_input, c);
  weight_gradient(e, c, clean, input, panels, layer.route.d_weight);
  bias_gradient(e, clean, panels, layer.route.d_bias);
  if (layer.noise.weight == nullptr) return;
  const Factor<T> noisy{layer.d_logits + e * kPanel, kPanel, 2 * e * kPanel};
  weight_gradient(e, c, noisy, input, panels, layer.noise.d_weight);
  bias_gradient(e, noisy, panels, layer.noise.d_bias);
}

/// Gradients of the experts' parameters in tasks that write different rows: for each expert kUpRows
/// rows of up each, and kDownRows of down. Every level cuts tasks alike: bfloat16 products take the
/// number of tasks from the processor's own level.
inline constexpr Index kUpRows = 96, kDownRows = 24;

template <class T>
Index expert_gradient_tasks(const Mixture<T>& layer) {
  const Index up = (layer.up_width + kUpRows - 1) / kUpRows;
  const Index down = (layer.width + kDownRows - 1) / kDownRows;
  return layer.all_experts() * (up + down);
}

template <class T>
void expert_gradients(const Mixture<T>& layer, Index task) {
  const Index c = layer.width, f = layer.hidden_width, u = layer.up_width;
  const Index up = (u + kUpRows - 1) / kUpRows, down = (c + kDownRows - 1) / kDownRows;
  const Index expert = task / (up + down), part = task % (up + down);
  const Index panel = layer.first_panel[expert];
  const Index panels = layer.first_panel[expert + 1] - panel;
  if (part < up) {
    const Index first = part * kUpRows, rows = u - first < kUpRows ? u - first : kUpRows;
    const Factor<T> left{layer.d_hidden + (panel * u + first) * kPanel, kPanel, u * kPanel};
    weight_gradient(rows, c, left, turned(layer.input_turned, c, panel), panels,
                    layer.up.d_weight.from((expert * u + first) * c));
    return bias_gradient(rows, left, panels, layer.up.d_bias.from(expert * u + first));
  }
  const Index first = (part - up) * kDownRows, rows = c - first < kDownRows ? c - first : kDownRows;
  const Factor<T> left{layer.d_answers + (panel * c + first) * kPanel, kPanel, c * kPanel};
  weight_gradient(rows, f, left, turned(layer.hidden_turned, f, panel), panels,
                  layer.down.d_weight.from((expert * c + first) * f));
  bias_gradient(rows, left, panels, layer.down.d_bias.from(expert * c + first));
}

}  // namespace moe::kernels::cpu::MOE_LEVEL
