#pragma once

#include "kernels/cpu/attention_arguments.h"
#include "kernels/cpu/elementary.h"
#include "kernels/cpu/multiply.h"
#include "kernels/cpu/random.h"

namespace moe::kernels::cpu::MOE_LEVEL {

/// Where the panels of one window of an attention layer lie.
template <class T>
class AttentionPlaces {
 public:
  AttentionPlaces(const Attention<T>& layer, Index window)
      : layer_(layer),
        window_(window),
        c_(layer.width),
        d_(layer.width / layer.heads),
        panels_(layer.panels()),
        first_token_(window * layer.time) {}

 protected:
  static constexpr Index kBlock = kPanel * kPanel;

  Index place(Index p) const { return window_ * panels_ + p; }  // of a panel in the layer
  T* qkv_panel(Index p, Index row) const {
    return layer_.qkv_panels + (place(p) * 3 * c_ + row) * kPanel;
  }
  T* d_qkv_panel(Index p, Index row) const {
    return layer_.d_qkv + (place(p) * 3 * c_ + row) * kPanel;
  }
  T* mixed_panel(Index p, Index row) const { return layer_.mixed + (place(p) * c_ + row) * kPanel; }

  TokenLanes keys_of(Index p) const {
    const Index last = first_token_ + layer_.time - 1;
    return token_lanes(layer_.keys, [&](int i) {
      const Index n = first_token_ + p * kPanel + i;
      return LaneKey{n < last ? n : last};
    });
  }

  const Attention<T>& layer_;
  Index window_, c_, d_, panels_, first_token_;
};

/// The stage between query, key, value and the projection: one head of one window. Scores are kept
/// as columns: row s of a (panel of queries) holds what its tokens give to key s.
template <class T>
class AttentionHead : AttentionPlaces<T> {
  using Places = AttentionPlaces<T>;
  using Places::c_, Places::d_, Places::d_qkv_panel, Places::kBlock, Places::keys_of,
      Places::layer_, Places::mixed_panel, Places::panels_, Places::place, Places::qkv_panel;

 public:
  AttentionHead(const Attention<T>& layer, Index window, Index head, T* scratch)
      : Places(layer, window),
        head_(head),
        row_(head * d_),
        scores_(scratch),
        grads_(scores_ + panels_ * kBlock),
        turned_(grads_ + panels_ * kBlock) {}

  static Index scratch_size(const Attention<T>& layer) { return (layer.panels() * 2 + 1) * kBlock; }

  /// What the queries of panel p mix.
  void attend(Index p, const TokenLanes& lanes) {
    score(p);
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
    store_row(softmax_max(p), most);
    store_row(softmax_scale(p), scale);
    if (layer_.weights_dropout.on)
      drop_panel(layer_.weights_dropout, lanes, first_block(), valid_keys(p), scores_);
    T* out = mixed_panel(p, row_);
    multiply<Left::row_major>(
        d_, Factor<T>{value(0), kPanel, 3 * c_ * kPanel}, Factor<T>{scores_, kPanel, kBlock},
        PanelSegments{p + 1}, [&](Index m, const Row<T>& row) {
          store_row(out + m * kPanel, map(row, scale, [](Vec<T> a, Vec<T> b) { return a * b; }));
        });
  }

  /// Gradients of query, key and value; that of what was mixed lies where the query's goes.
  void backward() {
    for (Index p = 0; p < panels_; ++p)
      for (Index i = 0; i < d_ * kPanel; ++i) {
        d_qkv_panel(p, c_ + row_)[i] = 0;
        d_qkv_panel(p, 2 * c_ + row_)[i] = 0;
      }
    for (Index p = 0; p < panels_; ++p) query_panel_backward(p);
  }

 private:
  const T* query(Index p) const { return qkv_panel(p, row_); }
  const T* key(Index p) const { return qkv_panel(p, c_ + row_); }
  const T* value(Index p) const { return qkv_panel(p, 2 * c_ + row_); }
  T* softmax_max(Index p) const {
    return layer_.softmax_max + (place(p) * layer_.heads + head_) * kPanel;
  }
  T* softmax_scale(Index p) const {
    return layer_.softmax_scale + (place(p) * layer_.heads + head_) * kPanel;
  }
  /// Draws of attention dropout are numbered head by head, each head's rounded up to whole blocks.
  Index first_block() const { return head_ * blocks_of(layer_.time); }
  /// Keys that panel p may see and that exist: words are drawn for these alone.
  Index valid_keys(Index p) const {
    const Index keys = (p + 1) * kPanel;
    return keys < layer_.time ? keys : layer_.time;
  }

  /// scores_ (keys up to panel p, kPanel) of the queries of panel p; the future is -infinity.
  void score(Index p) {
    const T scale = static_cast<T>(layer_.score_scale);
    for (Index s = 0; s <= p; ++s)
      multiply<Left::column_major>(kPanel, Factor<T>{key(s), kPanel}, Factor<T>{query(p), kPanel},
                                   {d_}, [&](Index m, const Row<T>& row) {
                                     store_row(scores_ + s * kBlock + m * kPanel,
                                               map(row, [&](Vec<T> a) { return a * scale; }));
                                   });
    for (Index m = 1; m < kPanel; ++m)
      for (Index t = 0; t < m; ++t)
        scores_[p * kBlock + m * kPanel + t] = -static_cast<T>(__builtin_inff());
  }

  /// What the queries of panel p hand back to their keys and values, and their own gradient.
  void query_panel_backward(Index p) {
    T* d_mixed = d_qkv_panel(p, row_);
    score(p);
    weigh(p);
    Row<T> dot{};  // sum over s of weight * gradient = mixed . d_mixed
    for (Index m = 0; m < d_; ++m) {
      const Row<T> a = load_row(mixed_panel(p, row_ + m)), b = load_row(d_mixed + m * kPanel);
      for (int v = 0; v < kVecs<T>; ++v) dot.v[v] += a.v[v] * b.v[v];
    }
    for (Index s = 0; s <= p; ++s)
      multiply<Left::column_major>(
          kPanel, Factor<T>{value(s), kPanel}, Factor<T>{d_mixed, kPanel}, {d_},
          [&](Index m, const Row<T>& row) { store_row(grads_ + s * kBlock + m * kPanel, row); });
    score_gradients(p, dot);
    for (Index s = 0; s <= p; ++s) {
      turn(scores_ + s * kBlock);  // dropped weights (query, key)
      add_product(d_mixed, d_qkv_panel(s, 2 * c_ + row_));
      turn(grads_ + s * kBlock);
      add_product(query(p), d_qkv_panel(s, c_ + row_));
    }
    // Last: d_mixed lay where the queries' gradient belongs.
    multiply<Left::row_major>(
        d_, Factor<T>{key(0), kPanel, 3 * c_ * kPanel}, Factor<T>{grads_, kPanel, kBlock},
        PanelSegments{p + 1},
        [&](Index m, const Row<T>& row) { store_row(d_mixed + m * kPanel, row); });
  }

  /// scores_ become softmax weights.
  void weigh(Index p) {
    const Row<T> most = load_row(softmax_max(p)), scale = load_row(softmax_scale(p));
    for (Index s = 0; s < (p + 1) * kPanel; ++s) {
      Row<T> e = map(load_row(scores_ + s * kPanel), most,
                     [](Vec<T> a, Vec<T> b) { return exponential(a - b); });
      store_row(scores_ + s * kPanel, map(e, scale, [](Vec<T> a, Vec<T> b) { return a * b; }));
    }
  }

  /// grads_ from gradients of the weights to those of the scores (scale included); scores_ from
  /// weights to dropped weights.
  void score_gradients(Index p, const Row<T>& dot) {
    const T scale = static_cast<T>(layer_.score_scale);
    const TokenLanes lanes = keys_of(p);
    const Index first = first_block();
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

  Index head_, row_;  // its first row in the panels
  T *scores_, *grads_, *turned_;
};

}  // namespace moe::kernels::cpu::MOE_LEVEL
