#pragma once

#include "kernels/cpu/elementary.h"
#include "kernels/cpu/multiply.h"
#include "kernels/cpu/norm.h"

namespace moe::kernels::cpu::MOE_LEVEL {

template <class T>
Index head_scratch(const Head<T>& layer) {
  return (layer.width + layer.vocabulary) * kPanel + kPanel * padded(layer.width);
}

/// The tokens of one panel, at most kPanel.
template <class T>
struct HeadPanel {
  HeadPanel(const Head<T>& layer, Index panel)
      : first(panel * kPanel),
        count(first + kPanel < layer.tokens ? kPanel : layer.tokens - first) {}
  Index first, count;
};

/// Logits and losses of the tokens of one panel.
template <class T>
void head_forward(const Head<T>& layer, Index panel, T* scratch) {
  const Index c = layer.width, v = layer.vocabulary;
  const HeadPanel<T> tokens(layer, panel);
  T *values = scratch, *logits = scratch + c * kPanel;
  T* normed = layer.normed + tokens.first * padded(c);
  for (Index i = 0; i < tokens.count; ++i)
    normalise(layer.norm, tokens.first + i, layer.x + (tokens.first + i) * c, c,
              normed + i * padded(c));
  for (Index i = tokens.count * padded(c); i < kPanel * padded(c); ++i) normed[i] = 0;
  rows_to_panel<T>(
      kPanel, c, [&](Index i) { return normed + i * padded(c); }, values);
  multiply<Left::row_major>(v, Factor<T>{layer.head.weight, c}, Factor<T>{values, kPanel}, {c},
                            [&](Index m, const Row<T>& row) {
                              const T bias = bias_at(layer.head.bias, m);
                              store_row(logits + m * kPanel,
                                        map(row, [&](Vec<T> a) { return a + bias; }));
                            });
  panel_to_rows<T>(logits, tokens.count, v,
                   [&](Index i) { return layer.logits + (tokens.first + i) * v; });
  if (layer.targets == nullptr) return;
  for (Index i = 0; i < tokens.count; ++i) {
    const T* mine = layer.logits + (tokens.first + i) * v;
    T most = mine[0];
    for (Index j = 1; j < v; ++j) most = mine[j] > most ? mine[j] : most;
    double sum = 0;
    for (Index j = 0; j < v; ++j) sum += __builtin_exp(static_cast<double>(mine[j] - most));
    const T target = mine[layer.targets[tokens.first + i]];
    layer.losses[tokens.first + i] =
        __builtin_log(sum) + static_cast<double>(most) - static_cast<double>(target);
  }
}

/// Gradient of the logits (V, kPanel) of the tokens of one panel, zeros for lanes beyond.
template <class T>
inline void logits_backward(const Head<T>& layer, const HeadPanel<T>& tokens, T* d_logits) {
  const Index v = layer.vocabulary;
  rows_to_panel<T>(
      tokens.count, v, [&](Index i) { return layer.logits + (tokens.first + i) * v; }, d_logits);
  Row<T> most = load_row(d_logits), sum{};
  for (Index j = 1; j < v; ++j)
    most = map(most, load_row(d_logits + j * kPanel),
               [](Vec<T> a, Vec<T> b) { return maximum<T>(a, b); });
  for (Index j = 0; j < v; ++j) {
    const Row<T> e = map(load_row(d_logits + j * kPanel), most,
                         [](Vec<T> a, Vec<T> b) { return exponential(a - b); });
    store_row(d_logits + j * kPanel, e);
    sum = map(sum, e, [](Vec<T> a, Vec<T> b) { return a + b; });
  }
  // Each token's part of the mean; nothing for lanes without a token.
  T share[kPanel] = {};
  for (Index i = 0; i < tokens.count; ++i)
    share[i] = layer.targets == nullptr
                   ? T{0}
                   : static_cast<T>(layer.d_loss / static_cast<double>(layer.tokens));
  const Row<T> scale = map(load_row(share), sum, [](Vec<T> a, Vec<T> b) { return a / b; });
  for (Index j = 0; j < v; ++j)
    store_row(d_logits + j * kPanel, map(load_row(d_logits + j * kPanel), scale,
                                         [](Vec<T> a, Vec<T> b) { return a * b; }));
  for (Index i = 0; i < tokens.count; ++i) {
    const Index n = tokens.first + i;
    if (layer.targets != nullptr) d_logits[layer.targets[n] * kPanel + i] -= share[i];
    if (layer.d_given == nullptr) continue;
    for (Index j = 0; j < v; ++j) d_logits[j * kPanel + i] += layer.d_given[n * v + j];
  }
}

template <class T>
void head_backward(const Head<T>& layer, Index panel, T* scratch) {
  const Index c = layer.width, v = layer.vocabulary;
  const HeadPanel<T> tokens(layer, panel);
  T *d_normed = scratch, *rows = scratch + c * kPanel;
  T* d_logits = layer.d_logits + panel * v * kPanel;
  logits_backward(layer, tokens, d_logits);
  multiply<Left::column_major>(
      c, Factor<T>{layer.head.weight, c}, Factor<T>{d_logits, kPanel}, {v},
      [&](Index m, const Row<T>& row) { store_row(d_normed + m * kPanel, row); });
  panel_to_rows<T>(d_normed, tokens.count, c, [&](Index i) { return rows + i * padded(c); });
  T* parts = layer.norm_parts + panel * 2 * padded(c);
  for (Index i = 0; i < 2 * padded(c); ++i) parts[i] = 0;
  for (Index i = 0; i < tokens.count; ++i) {
    const Index n = tokens.first + i;
    for (Index j = 0; j < c; ++j) layer.d_x[n * c + j] = 0;
    normalise_backward(layer.norm, n, layer.x + n * c, rows + i * padded(c), c, layer.d_x + n * c,
                       parts);
  }
}

/// Task 0 is the norm, task t the rows of the head from (t - 1) * kHeadRows on.
inline constexpr Index kHeadRows = 24;

template <class T>
Index head_gradient_tasks(const Head<T>& layer) {
  return 1 + (layer.vocabulary + kHeadRows - 1) / kHeadRows;
}

template <class T>
void head_gradients(const Head<T>& layer, Index task) {
  const Index c = layer.width, v = layer.vocabulary, panels = panels_of(layer.tokens);
  if (task == 0) return sum_norm_parts(layer.norm, layer.norm_parts, panels, c);
  const Index first = (task - 1) * kHeadRows, rows = v - first < kHeadRows ? v - first : kHeadRows;
  const Factor<T> left{layer.d_logits + first * kPanel, kPanel, v * kPanel};
  weight_gradient(rows, c, left, token_rows(layer.normed, c), panels,
                  layer.head.d_weight.from(first * c));
  bias_gradient(rows, left, panels, layer.head.d_bias.from(first));
}

}  // namespace moe::kernels::cpu::MOE_LEVEL
