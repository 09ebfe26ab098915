#pragma once

#include "kernels/cpu/heads.h"
#include "kernels/cpu/linear.h"
#include "kernels/cpu/norm.h"
#include "kernels/cpu/query_key.h"
#include "kernels/cpu/short_conv.h"
#include "kernels/cpu/value_residual.h"

namespace moe::kernels::cpu::MOE_LEVEL {

/// One window of an attention layer: the steps of forward and backward.
template <class T>
class AttentionWindow : AttentionPlaces<T> {
  using Places = AttentionPlaces<T>;
  using Places::c_, Places::d_, Places::d_qkv_panel, Places::first_token_, Places::keys_of,
      Places::layer_, Places::mixed_panel, Places::panels_, Places::place, Places::qkv_panel,
      Places::window_;

 public:
  AttentionWindow(const Attention<T>& layer, Index window, T* scratch)
      : Places(layer, window),
        head_(scratch),
        panel_(head_ + AttentionHead<T>::scratch_size(layer)),
        rows_(panel_ + panels_ * c_ * kPanel),
        angles_(rows_ + row_panels(layer) * kPanel * padded(c_)) {}

  static Index scratch_size(const Attention<T>& layer) {
    const Index angles = layer.query_key.rotates ? layer.width / layer.heads * kPanel : 0;
    return AttentionHead<T>::scratch_size(layer) + layer.panels() * layer.width * kPanel +
           row_panels(layer) * kPanel * padded(layer.width) + angles;
  }

  void forward() {
    for (Index p = 0; p < panels_; ++p) {
      read_panel(p);
      rows_to_panel<T>(
          kPanel, c_, [&](Index i) { return normed_row(p, i); }, panel(p));
    }
    apply_linear<T>(layer_.qkv.weight, /*bias=*/nullptr, 3 * c_, c_, panels(panel_),
                    {qkv_panel(0, 0), panels_, 3 * c_ * kPanel});
    for (Index p = 0; p < panels_; ++p) {
      meet(p);
      mix_values(layer_.value_residual, place(p) * c_ * kPanel, c_ * kPanel, qkv_panel(p, 2 * c_));
    }
    for (Index p = 0; p < panels_; ++p) {
      const TokenLanes lanes = keys_of(p);
      for (Index h = 0; h < layer_.heads; ++h) head(h).attend(p, lanes);
    }
    apply_linear<T>(layer_.proj.weight, layer_.proj.bias, c_, c_, panels(mixed_panel(0, 0)),
                    panels(panel_));
    for (Index p = 0; p < panels_; ++p) add_to_residual(p);
    if (layer_.cache.keys != nullptr) fill_cache();
  }

  void backward() {
    for (Index p = 0; p < panels_; ++p) output_backward(p);
    const TokenPanels<T> d_qkv{d_qkv_panel(0, 0), panels_, 3 * c_ * kPanel};
    // Into d_qkv's query part for now: a head reads it there before it writes its own.
    linear_backward<T>(layer_.proj.weight, c_, c_, panels(d_output(0)), d_qkv);
    for (Index h = 0; h < layer_.heads; ++h) head(h).backward();
    meet_backward();
    value_backward();
    linear_backward<T>(layer_.qkv.weight, 3 * c_, c_, d_qkv, panels(panel_));
    read_backward();
  }

 private:
  /// Panels of gradients of normed rows that are held at once: a convolution's go back over panels.
  static Index row_panels(const Attention<T>& layer) {
    return convolves(layer.conv) ? layer.panels() : 1;
  }
  AttentionHead<T> head(Index h) const { return {layer_, window_, h, head_}; }
  Index tokens_in(Index p) const {
    const Index left = layer_.time - p * kPanel;
    return left < kPanel ? left : kPanel;
  }
  Index token(Index p) const { return first_token_ + p * kPanel; }
  T* panel(Index p) const { return panel_ + p * c_ * kPanel; }
  TokenPanels<T> panels(T* of) const { return {of, panels_, c_ * kPanel}; }
  T* d_output(Index p) const { return layer_.d_output + place(p) * c_ * kPanel; }
  T* normed_row(Index p, Index i) const {
    return layer_.normed + (place(p) * kPanel + i) * padded(c_);
  }

  /// What the product of query, key and value reads of panel p, after the panels before it.
  void read_panel(Index p) {
    const T* x = layer_.x + token(p) * c_;
    const Index first = place(p) * kPanel, count = tokens_in(p);
    if (!convolves(layer_.conv))
      return normalise_panel(layer_.norm, first, count, x, c_, normed_row(p, 0));
    normalise_rows(layer_.norm, first, layer_.conv, token(p), count, x, c_);
    convolve_panel(layer_.conv, token(p), count, c_, normed_row(p, 0));
  }

  const T* gain(Index part) const {
    return part == 0 ? layer_.query_key.query_gain : layer_.query_key.key_gain;
  }
  T* before(Index p) const { return layer_.query_key.before + place(p) * 2 * c_ * kPanel; }

  /// Angles (D, kPanel) of the tokens of panel p.
  void turn_angles(Index p) {
    rows_to_panel<T>(
        tokens_in(p), d_, [&](Index i) { return layer_.query_key.angles + (p * kPanel + i) * d_; },
        angles_);
  }

  /// Calls use(part, at) for the queries (part 0) and keys (1) of each head, whose rows (D, kPanel)
  /// begin at value `at` of a panel (2C, kPanel).
  template <class Use>
  void for_queries_and_keys(const Use& use) const {
    for (Index part = 0; part < 2; ++part)
      for (Index h = 0; h < layer_.heads; ++h) use(part, (part * c_ + h * d_) * kPanel);
  }

  /// Queries and keys of panel p as they meet in the scores.
  void meet(Index p) {
    const auto& stage = layer_.query_key;
    T* rows = qkv_panel(p, 0);
    if (stage.normalises) {
      for (Index i = 0; i < 2 * c_ * kPanel; ++i) before(p)[i] = rows[i];
      for_queries_and_keys(
          [&](Index part, Index at) { normalise_head(gain(part), d_, stage.eps, rows + at); });
    }
    if (!stage.rotates) return;
    turn_angles(p);
    for_queries_and_keys(
        [&](Index, Index at) { rotate_head(angles_, d_, /*back=*/false, rows + at); });
  }

  void meet_backward() {
    const auto& stage = layer_.query_key;
    T* parts = stage.gain_parts + window_ * 2 * d_;
    for (Index i = 0; stage.normalises && i < 2 * d_; ++i) parts[i] = 0;
    for (Index p = 0; p < panels_; ++p) {
      T* grads = d_qkv_panel(p, 0);
      if (stage.rotates) {
        turn_angles(p);
        for_queries_and_keys(
            [&](Index, Index at) { rotate_head(angles_, d_, /*back=*/true, grads + at); });
      }
      if (stage.normalises)
        for_queries_and_keys([&](Index part, Index at) {
          normalise_head_backward(before(p) + at, gain(part), d_, stage.eps, grads + at,
                                  parts + part * d_);
        });
    }
  }

  void value_backward() {
    const auto& stage = layer_.value_residual;
    double total = 0;
    for (Index p = 0; p < panels_; ++p)
      total +=
          mix_values_backward(stage, place(p) * c_ * kPanel, c_ * kPanel, d_qkv_panel(p, 2 * c_));
    if (stage.mixes) stage.parts[window_] = total;
  }

  void add_to_residual(Index p) {
    if (layer_.output_dropout.on) drop_panel(layer_.output_dropout, keys_of(p), 0, c_, panel(p));
    const Index count = tokens_in(p);
    panel_to_rows<T>(panel(p), count, c_, [&](Index i) { return rows_ + i * padded(c_); });
    for (Index i = 0; i < count; ++i) {
      const Index at = (token(p) + i) * c_;
      for (Index c = 0; c < c_; ++c)
        layer_.out[at + c] = layer_.x[at + c] + rows_[i * padded(c_) + c];
    }
  }

  void fill_cache() const {
    const Index capacity = layer_.cache.capacity;
    T* keys = layer_.cache.keys + window_ * c_ * capacity;
    T* values = layer_.cache.values + window_ * capacity * c_;
    for (Index p = 0; p < panels_; ++p) {
      for (Index c = 0; c < c_; ++c)
        store_row(keys + c * capacity + p * kPanel, load_row(qkv_panel(p, c_ + c)));
      panel_to_rows<T>(qkv_panel(p, 2 * c_), tokens_in(p), c_,
                       [&](Index i) { return values + (p * kPanel + i) * c_; });
    }
  }

  /// Gradient of proj's outcome, and the heads' answers as rows for proj's gradient.
  void output_backward(Index p) {
    rows_to_panel<T>(
        tokens_in(p), c_, [&](Index i) { return layer_.d_out + (token(p) + i) * c_; }, d_output(p));
    if (layer_.output_dropout.on) drop_panel(layer_.output_dropout, keys_of(p), 0, c_, d_output(p));
    panel_to_rows<T>(mixed_panel(p, 0), kPanel, c_, [&](Index i) {
      return layer_.mixed_rows + (place(p) * kPanel + i) * padded(c_);
    });
    for (Index i = 0; i < kPanel; ++i)
      for (Index c = c_; c < padded(c_); ++c)
        layer_.mixed_rows[(place(p) * kPanel + i) * padded(c_) + c] = 0;
  }

  /// d_x, from the gradients of what the product read, in panel_.
  void read_backward() {
    T* parts = clear_norm_parts(layer_.norm_parts + window_ * 2 * padded(c_), c_);
    const Index apart = convolves(layer_.conv) ? kPanel * padded(c_) : 0;
    if (convolves(layer_.conv)) {
      for (Index p = 0; p < panels_; ++p) turn_back(p, rows_ + p * apart);
      T* conv_parts = clear_conv_parts(layer_.conv, window_, c_);
      for (Index t = 0; t < layer_.time; ++t) {
        T* row = rows_ + t * padded(c_);
        convolve_backward(layer_.conv, first_token_ + t, row, c_, row, conv_parts);
      }
    }
    for (Index p = 0; p < panels_; ++p) {
      T* rows = rows_ + p * apart;
      if (!convolves(layer_.conv)) turn_back(p, rows);
      const Index at = token(p) * c_;
      normalise_panel_backward(layer_.norm, place(p) * kPanel, tokens_in(p), layer_.x + at, rows,
                               layer_.d_out + at, c_, layer_.d_x + at, parts);
    }
  }
  void turn_back(Index p, T* rows) const {
    panel_to_rows<T>(panel(p), tokens_in(p), c_, [&](Index i) { return rows + i * padded(c_); });
  }

  T* head_;    // what a head works in
  T* panel_;   // (panels, C, kPanel)
  T* rows_;    // (row_panels * kPanel, padded(C))
  T* angles_;  // (D, kPanel)
};

/// The gradients of the gains from the windows' parts, summed in order.
template <class T>
void gain_gradients(const Attention<T>& layer) {
  const auto& stage = layer.query_key;
  const Index d = layer.width / layer.heads;
  for (Index part = 0; part < 2; ++part) {
    const auto& slot = part == 0 ? stage.d_query_gain : stage.d_key_gain;
    if (slot.to == nullptr) continue;
    for (Index i = 0; i < d; ++i) {
      T total = slot.adds ? slot.to[i] : T{0};
      for (Index w = 0; w < layer.windows; ++w) total += stage.gain_parts[(w * 2 + part) * d + i];
      slot.to[i] = total;
    }
  }
}

/// Gradients of the parameters, in tasks that write different rows: task 0 is the norms and the
/// biases, the others kGradientRows rows each of qkv, then of proj.
inline constexpr Index kGradientRows = 48;

template <class T>
Index attention_gradient_tasks(const Attention<T>& layer) {
  const Index qkv = (3 * layer.width + kGradientRows - 1) / kGradientRows;
  const Index proj = (layer.width + kGradientRows - 1) / kGradientRows;
  return 1 + qkv + proj;
}

template <class T>
void attention_gradients(const Attention<T>& layer, Index task) {
  const Index c = layer.width, panels = layer.windows * layer.panels();
  const Factor<T> d_output{layer.d_output, kPanel, c * kPanel};
  if (task == 0) {
    sum_norm_parts(layer.norm, layer.norm_parts, layer.windows, c);
    sum_conv_parts(layer.conv, layer.windows, c);
    if (layer.query_key.normalises) gain_gradients(layer);
    return bias_gradient(c, d_output, panels, layer.proj.d_bias);
  }
  Index first = (task - 1) * kGradientRows;
  const Index qkv_rows = (3 * c + kGradientRows - 1) / kGradientRows * kGradientRows;
  const bool is_proj = first >= qkv_rows;
  if (is_proj) first -= qkv_rows;
  const Index height = is_proj ? c : 3 * c;
  const Index rows = height - first < kGradientRows ? height - first : kGradientRows;
  Factor<T> left = is_proj ? d_output : Factor<T>{layer.d_qkv, kPanel, 3 * c * kPanel};
  left.data += first * kPanel;
  weight_gradient(rows, c, left, token_rows(is_proj ? layer.mixed_rows : layer.normed, c), panels,
                  (is_proj ? layer.proj.d_weight : layer.qkv.d_weight).from(first * c));
}

}  // namespace moe::kernels::cpu::MOE_LEVEL
