#pragma once

#include "kernels/cpu/elementary.h"
#include "kernels/cpu/multiply.h"
#include "kernels/cpu/norm.h"
#include "kernels/cpu/random.h"

namespace moe::kernels::cpu::MOE_LEVEL {

/// One window of an attention layer: where its panels lie, and the steps of forward and backward.
/// Scores are kept as columns: row s of a (panel of queries) holds what its tokens give to key s.
template <class T>
class AttentionWindow {
 public:
  AttentionWindow(const Attention<T>& layer, Index window, T* scratch)
      : layer_(layer),
        window_(window),
        c_(layer.width),
        d_(layer.width / layer.heads),
        panels_(layer.panels()),
        first_token_(window * layer.time),
        scores_(scratch),
        grads_(scores_ + panels_ * kBlock),
        turned_(grads_ + panels_ * kBlock),
        panel_(turned_ + kBlock),
        rows_(panel_ + panels_ * c_ * kPanel) {}

  static Index scratch_size(const Attention<T>& layer) {
    return layer.panels() * (2 * kBlock + layer.width * kPanel) + kBlock +
           kPanel * padded(layer.width);
  }

  void forward() {
    for (Index p = 0; p < panels_; ++p) {
      normalise_tokens(p);
      rows_to_panel<T>(
          kPanel, c_, [&](Index i) { return normed_row(p, i); }, panel(p));
    }
    multiply<Left::row_major>(
        3 * c_, Factor<T>{layer_.qkv.weight, c_}, Factor<T>{panel_, kPanel}, {c_},
        {panels_, c_ * kPanel},
        [&](Index m, Index p, const Row<T>& row) { store_row(qkv_panel(p, m), row); });
    for (Index p = 0; p < panels_; ++p) {
      const TokenLanes lanes = keys_of(p);
      for (Index h = 0; h < layer_.heads; ++h) attend(p, h, lanes);
    }
    multiply<Left::row_major>(
        c_, Factor<T>{layer_.proj.weight, c_}, Factor<T>{mixed_panel(0, 0), kPanel}, {c_},
        {panels_, c_ * kPanel}, [&](Index m, Index p, const Row<T>& row) {
          const T bias = bias_at(layer_.proj.bias, m);
          store_row(panel(p) + m * kPanel, map(row, [&](Vec<T> a) { return a + bias; }));
        });
    for (Index p = 0; p < panels_; ++p) add_to_residual(p);
    if (layer_.cache.keys != nullptr) fill_cache();
  }

  void backward() {
    T* parts = layer_.norm_parts + window_ * 2 * padded(c_);
    for (Index i = 0; i < 2 * padded(c_); ++i) parts[i] = 0;
    for (Index p = 0; p < panels_; ++p) output_backward(p);
    // Into d_qkv's query part for now: a head reads it there before it writes its own.
    multiply<Left::column_major>(
        c_, Factor<T>{layer_.proj.weight, c_}, Factor<T>{d_output(0), kPanel}, {c_},
        {panels_, c_ * kPanel},
        [&](Index m, Index p, const Row<T>& row) { store_row(d_qkv_panel(p, m), row); });
    for (Index h = 0; h < layer_.heads; ++h) head_backward(h);
    multiply<Left::column_major>(
        c_, Factor<T>{layer_.qkv.weight, c_}, Factor<T>{d_qkv_panel(0, 0), kPanel}, {3 * c_},
        {panels_, 3 * c_ * kPanel},
        [&](Index m, Index p, const Row<T>& row) { store_row(panel(p) + m * kPanel, row); });
    for (Index p = 0; p < panels_; ++p) norm_backward(p, parts);
  }

 private:
  static constexpr Index kBlock = kPanel * kPanel;

  Index tokens_in(Index p) const {
    const Index left = layer_.time - p * kPanel;
    return left < kPanel ? left : kPanel;
  }
  T* panel(Index p) const { return panel_ + p * c_ * kPanel; }
  Index place(Index p) const { return window_ * panels_ + p; }  // of a panel in the layer
  T* normed_row(Index p, Index i) const {
    return layer_.normed + (place(p) * kPanel + i) * padded(c_);
  }
  T* qkv_panel(Index p, Index row) const {
    return layer_.qkv_panels + (place(p) * 3 * c_ + row) * kPanel;
  }
  T* mixed_panel(Index p, Index row) const { return layer_.mixed + (place(p) * c_ + row) * kPanel; }
  const T* query(Index p, Index h) const { return qkv_panel(p, h * d_); }
  const T* key(Index p, Index h) const { return qkv_panel(p, c_ + h * d_); }
  const T* value(Index p, Index h) const { return qkv_panel(p, 2 * c_ + h * d_); }
  T* softmax_max(Index p, Index h) const {
    return layer_.softmax_max + (place(p) * layer_.heads + h) * kPanel;
  }
  T* softmax_scale(Index p, Index h) const {
    return layer_.softmax_scale + (place(p) * layer_.heads + h) * kPanel;
  }
  /// Draws of attention dropout are numbered head by head, each head's rounded up to whole blocks.
  Index first_block(Index h) const { return h * blocks_of(layer_.time); }

  TokenLanes keys_of(Index p) const {
    const Index last = first_token_ + layer_.time - 1;
    return token_lanes(layer_.keys, [&](int i) {
      const Index n = first_token_ + p * kPanel + i;
      return LaneKey{n < last ? n : last};
    });
  }

  void normalise_tokens(Index p) {
    const Index count = tokens_in(p);
    for (Index i = 0; i < count; ++i)
      normalise(layer_.norm, place(p) * kPanel + i, layer_.x + (first_token_ + p * kPanel + i) * c_,
                c_, normed_row(p, i));
    for (Index i = count; i < kPanel; ++i)
      for (Index c = 0; c < padded(c_); ++c) normed_row(p, i)[c] = 0;
  }

  /// scores_ (keys up to panel p, kPanel) of the queries of panel p; the future is -infinity.
  void score(Index p, Index h) {
    const T scale = static_cast<T>(layer_.score_scale);
    for (Index s = 0; s <= p; ++s)
      multiply<Left::column_major>(kPanel, Factor<T>{key(s, h), kPanel},
                                   Factor<T>{query(p, h), kPanel}, {d_},
                                   [&](Index m, const Row<T>& row) {
                                     store_row(scores_ + s * kBlock + m * kPanel,
                                               map(row, [&](Vec<T> a) { return a * scale; }));
                                   });
    for (Index m = 1; m < kPanel; ++m)
      for (Index t = 0; t < m; ++t)
        scores_[p * kBlock + m * kPanel + t] = -static_cast<T>(__builtin_inff());
  }

  void attend(Index p, Index h, const TokenLanes& lanes) {
    score(p, h);
    const Index keys = (p + 1) * kPanel;
    Row<T> most = load_row(scores_);
    for (Index s = 1; s < keys; ++s)
      most = map(most, load_row(scores_ + s * kPanel),
                 [](Vec<T> a, Vec<T> b) { return maximum<T>(a, b); });
    Row<T> total{};
    for (Index s = 0; s < keys; ++s) {
      const Row<T> e = map(load_row(scores_ + s * kPanel), most,
                           [](Vec<T> a, Vec<T> b) { return exponential(a - b); });
      store_row(scores_ + s * kPanel, e);
      total = map(total, e, [](Vec<T> a, Vec<T> b) { return a + b; });
    }
    const Row<T> scale = map(total, [](Vec<T> a) { return T{1} / a; });
    store_row(softmax_max(p, h), most);
    store_row(softmax_scale(p, h), scale);
    if (layer_.weights_dropout.on)
      drop_panel(layer_.weights_dropout, lanes, first_block(h), valid_keys(p), scores_);
    T* out = mixed_panel(p, h * d_);
    multiply<Left::row_major>(
        d_, Factor<T>{value(0, h), kPanel, 3 * c_ * kPanel}, Factor<T>{scores_, kPanel, kBlock},
        PanelSegments{p + 1}, [&](Index m, const Row<T>& row) {
          store_row(out + m * kPanel, map(row, scale, [](Vec<T> a, Vec<T> b) { return a * b; }));
        });
  }

  /// Keys that panel p may see and that exist: words are drawn for these alone.
  Index valid_keys(Index p) const {
    const Index keys = (p + 1) * kPanel;
    return keys < layer_.time ? keys : layer_.time;
  }

  void add_to_residual(Index p) {
    if (layer_.output_dropout.on) drop_panel(layer_.output_dropout, keys_of(p), 0, c_, panel(p));
    const Index count = tokens_in(p);
    panel_to_rows<T>(panel(p), count, c_, [&](Index i) { return rows_ + i * padded(c_); });
    for (Index i = 0; i < count; ++i) {
      const Index at = (first_token_ + p * kPanel + i) * c_;
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
        tokens_in(p), c_,
        [&](Index i) { return layer_.d_out + (first_token_ + p * kPanel + i) * c_; }, d_output(p));
    if (layer_.output_dropout.on) drop_panel(layer_.output_dropout, keys_of(p), 0, c_, d_output(p));
    panel_to_rows<T>(mixed_panel(p, 0), kPanel, c_, [&](Index i) {
      return layer_.mixed_rows + (place(p) * kPanel + i) * padded(c_);
    });
    for (Index i = 0; i < kPanel; ++i)
      for (Index c = c_; c < padded(c_); ++c)
        layer_.mixed_rows[(place(p) * kPanel + i) * padded(c_) + c] = 0;
  }

  T* d_output(Index p) const { return layer_.d_output + place(p) * c_ * kPanel; }
  T* d_qkv_panel(Index p, Index row) const {
    return layer_.d_qkv + (place(p) * 3 * c_ + row) * kPanel;
  }

  void head_backward(Index h) {
    for (Index p = 0; p < panels_; ++p)
      for (Index i = 0; i < d_ * kPanel; ++i) {
        d_qkv_panel(p, c_ + h * d_)[i] = 0;
        d_qkv_panel(p, 2 * c_ + h * d_)[i] = 0;
      }
    for (Index p = 0; p < panels_; ++p) query_panel_backward(p, h);
  }

  /// What the queries of panel p hand back to their keys and values, and their own gradient.
  void query_panel_backward(Index p, Index h) {
    T* d_mixed = d_qkv_panel(p, h * d_);
    score(p, h);
    weigh(p, h);
    Row<T> dot{};  // sum over s of weight * gradient = mixed . d_mixed
    for (Index m = 0; m < d_; ++m) {
      const Row<T> a = load_row(mixed_panel(p, h * d_ + m)), b = load_row(d_mixed + m * kPanel);
      for (int v = 0; v < kVecs<T>; ++v) dot.v[v] += a.v[v] * b.v[v];
    }
    for (Index s = 0; s <= p; ++s)
      multiply<Left::column_major>(
          kPanel, Factor<T>{value(s, h), kPanel}, Factor<T>{d_mixed, kPanel}, {d_},
          [&](Index m, const Row<T>& row) { store_row(grads_ + s * kBlock + m * kPanel, row); });
    score_gradients(p, h, dot);
    for (Index s = 0; s <= p; ++s) {
      turn(scores_ + s * kBlock);  // dropped weights (query, key)
      add_product(d_mixed, d_qkv_panel(s, 2 * c_ + h * d_));
      turn(grads_ + s * kBlock);
      add_product(query(p, h), d_qkv_panel(s, c_ + h * d_));
    }
    // Last: d_mixed lay where the queries' gradient belongs.
    multiply<Left::row_major>(
        d_, Factor<T>{key(0, h), kPanel, 3 * c_ * kPanel}, Factor<T>{grads_, kPanel, kBlock},
        PanelSegments{p + 1},
        [&](Index m, const Row<T>& row) { store_row(d_mixed + m * kPanel, row); });
  }

  /// scores_ become softmax weights.
  void weigh(Index p, Index h) {
    const Row<T> most = load_row(softmax_max(p, h)), scale = load_row(softmax_scale(p, h));
    for (Index s = 0; s < (p + 1) * kPanel; ++s) {
      Row<T> e = map(load_row(scores_ + s * kPanel), most,
                     [](Vec<T> a, Vec<T> b) { return exponential(a - b); });
      store_row(scores_ + s * kPanel, map(e, scale, [](Vec<T> a, Vec<T> b) { return a * b; }));
    }
  }

  /// grads_ from gradients of the weights to those of the scores (scale included); scores_ from
  /// weights to dropped weights.
  void score_gradients(Index p, Index h, const Row<T>& dot) {
    const T scale = static_cast<T>(layer_.score_scale);
    const TokenLanes lanes = keys_of(p);
    const Index first = first_block(h);
    Row<T> factors[4];
    for (Index s = 0; s < (p + 1) * kPanel; ++s) {
      if (layer_.weights_dropout.on && s % 4 == 0)
        dropout_factors(layer_.weights_dropout, lanes, first + s / 4, factors);
      T *weights = scores_ + s * kPanel, *grads = grads_ + s * kPanel;
      Row<T> w = load_row(weights), g = load_row(grads);
      for (int v = 0; v < kVecs<T>; ++v) {
        const Vec<T> kept = layer_.weights_dropout.on ? factors[s % 4].v[v] : Vec<T>{} + T{1};
        g.v[v] = w.v[v] * (g.v[v] * kept - dot.v[v]) * scale;
        w.v[v] *= kept;
      }
      store_row(weights, w);
      store_row(grads, g);
    }
  }

  /// turned_ = the transpose of a (kPanel, kPanel) block.
  void turn(const T* block) {
    rows_to_panel<T>(
        kPanel, kPanel, [&](Index i) { return block + i * kPanel; }, turned_);
  }

  /// to (D, kPanel) += left (D, kPanel tokens) times turned_.
  void add_product(const T* left, T* to) {
    multiply<Left::row_major>(
        d_, Factor<T>{left, kPanel}, Factor<T>{turned_, kPanel}, PanelSegments{},
        [&](Index m, const Row<T>& row) {
          T* at = to + m * kPanel;
          store_row(at, map(row, load_row(at), [](Vec<T> a, Vec<T> b) { return a + b; }));
        });
  }

  void norm_backward(Index p, T* parts) {
    const Index count = tokens_in(p);
    panel_to_rows<T>(panel(p), count, c_, [&](Index i) { return rows_ + i * padded(c_); });
    for (Index i = 0; i < count; ++i) {
      const Index at = (first_token_ + p * kPanel + i) * c_;
      for (Index c = 0; c < c_; ++c) layer_.d_x[at + c] = layer_.d_out[at + c];
      normalise_backward(layer_.norm, place(p) * kPanel + i, layer_.x + at, rows_ + i * padded(c_),
                         c_, layer_.d_x + at, parts);
    }
  }

  const Attention<T>& layer_;
  Index window_, c_, d_, panels_, first_token_;
  T *scores_, *grads_, *turned_, *panel_, *rows_;
};

/// Gradients of the parameters, in tasks that write different rows: task 0 is the norm and the
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
