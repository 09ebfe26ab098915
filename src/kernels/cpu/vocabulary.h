#pragma once

#include "kernels/cpu/elementary.h"
#include "kernels/cpu/linear.h"
#include "kernels/cpu/norm.h"

namespace moe::kernels::cpu::MOE_LEVEL {

/// The stage from the last norm to the loss for a group of token panels, by blocks of the
/// vocabulary (docs/adr/0044): what a block's logits are needed for happens while they are in the
/// cache. A group's outcome depends on nothing but its tokens.
template <class T>
class VocabularyPanels {
 public:
  VocabularyPanels(const Vocabulary<T>& layer, Index group, T* scratch)
      : layer_(layer),
        c_(layer.width),
        v_(layer.symbols),
        first_(group * kVocabularyPanels),
        count_(smaller(kVocabularyPanels, panels_of(layer.tokens) - first_)),
        values_(scratch),
        room_(scratch + kVocabularyPanels * c_ * kPanel) {}

  static Index scratch_size(const Vocabulary<T>& layer) {
    const Index rows = kPanel * padded(layer.width);
    const Index block = kVocabularyPanels * kVocabularyRows * kPanel;
    return kVocabularyPanels * layer.width * kPanel + (rows > block ? rows : block);
  }

  /// Losses, and logits if they are asked for.
  void forward() {
    for (Index p = 0; p < count_; ++p) normalise_tokens(p);
    gather();
    for (Index p = 0; p < count_; ++p) {
      fill(largest(p), -__builtin_inf());
      for (Index i = 0; i < kPanel; ++i) total(p)[i] = 0;
    }
    for (Index v = 0; v < v_; v += kVocabularyRows) {
      const Block block =
          logits_of(v, layer_.kept != nullptr ? kept(v) : Block{room_, count_, kRoom});
      for (Index p = 0; p < count_; ++p) {
        if (layer_.logits != nullptr) write_logits(p, v, block.at(p));
        if (layer_.targets != nullptr) take_in(p, v, block.at(p));
      }
    }
    if (layer_.targets == nullptr) return;
    for (Index p = 0; p < count_; ++p)
      for (Index i = 0; i < tokens_in(p); ++i)
        if (counts(p, i))
          layer_.losses[token(p) + i] += __builtin_log(total(p)[i]) + double{largest(p)[i]};
  }

  /// Gradients of the logits of one chunk, and what they add to those of the normed tokens; after
  /// the last chunk that of x.
  void backward() {
    const Index end = smaller(v_, layer_.chunk + layer_.chunk_size);
    if (layer_.kept == nullptr) gather();
    for (Index v = layer_.chunk; v < end; v += kVocabularyRows) {
      const Block to = chunk_block(v), from = layer_.kept != nullptr ? kept(v) : logits_of(v, to);
      for (Index p = 0; p < count_; ++p) logits_backward(p, v, from.at(p), to.at(p));
      linear_backward<T>(layer_.head.weight + v * c_, rows_in(v), c_, {to.data, count_, to.stride},
                         {d_normed(0), count_, c_ * kPanel}, /*adds=*/v > 0);
    }
    if (end < v_) return;
    for (Index p = 0; p < count_; ++p) tokens_backward(p);
  }

 private:
  static constexpr Index kRoom = kVocabularyRows * kPanel;
  using Block = TokenPanels<T>;  // logits (rows, kPanel) of each panel, or their gradients

  static Index smaller(Index a, Index b) { return a < b ? a : b; }
  static void fill(T* to, double value) {
    for (Index i = 0; i < kPanel; ++i) to[i] = static_cast<T>(value);
  }

  // Panel p of the group, from here on.
  Index token(Index p) const { return (first_ + p) * kPanel; }
  Index tokens_in(Index p) const { return smaller(kPanel, layer_.tokens - token(p)); }
  Index rows_in(Index v) const { return smaller(kVocabularyRows, v_ - v); }
  T* normed(Index p) const { return layer_.normed + token(p) * padded(c_); }
  T* largest(Index p) const { return layer_.largest + token(p); }
  double* total(Index p) const { return layer_.totals + token(p); }
  T* d_normed(Index p) const { return layer_.d_normed + token(p) * c_; }
  Block kept(Index v) const {
    return {layer_.kept + (first_ * v_ + v) * kPanel, count_, v_ * kPanel};
  }
  Block chunk_block(Index v) const {
    const Index size = layer_.chunk_size;
    return {layer_.d_logits + (first_ * size + v - layer_.chunk) * kPanel, count_, size * kPanel};
  }

  bool counts(Index p, Index i) const { return layer_.targets[token(p) + i] >= 0; }

  void normalise_tokens(Index p) {
    const Index n = token(p), count = tokens_in(p);
    normalise_panel(layer_.norm, n, count, layer_.x + n * c_, c_, normed(p));
    for (Index i = 0; i < count && layer_.targets != nullptr; ++i) layer_.losses[n + i] = 0;
  }

  void gather() {
    for (Index p = 0; p < count_; ++p)
      rows_to_panel<T>(
          kPanel, c_, [&](Index i) { return normed(p) + i * padded(c_); },
          values_ + p * c_ * kPanel);
  }

  /// The logits of symbols from v on, in `to`.
  Block logits_of(Index v, Block to) const {
    const T* bias = layer_.head.bias == nullptr ? nullptr : layer_.head.bias + v;
    apply_linear<T>(layer_.head.weight + v * c_, bias, rows_in(v), c_,
                    {values_, count_, c_ * kPanel}, to);
    return to;
  }

  void write_logits(Index p, Index v, const T* logits) {
    panel_to_rows<T>(logits, tokens_in(p), rows_in(v),
                     [&](Index i) { return layer_.logits + (token(p) + i) * v_ + v; });
  }

  /// Adds a block to the running sums of e^(logit - largest). Within it they are of T, which a
  /// block is short enough for; blocks add up in double.
  void take_in(Index p, Index v, const T* logits) {
    const Index rows = rows_in(v);
    Row<T> top = load_row(largest(p)), sum{};
    for (Index j = 0; j < rows; ++j)
      top = map(top, load_row(logits + j * kPanel),
                [](Vec<T> a, Vec<T> b) { return maximum<T>(a, b); });
    for (Index j = 0; j < rows; ++j)
      sum = map(sum,
                map(load_row(logits + j * kPanel), top,
                    [](Vec<T> a, Vec<T> b) { return exponential(a - b); }),
                [](Vec<T> a, Vec<T> b) { return a + b; });
    T before[kPanel], sums[kPanel];
    store_row(before, load_row(largest(p)));
    store_row(sums, sum);
    store_row(largest(p), top);
    for (Index i = 0; i < kPanel; ++i) {
      const double shrink = __builtin_exp(double{before[i]} - double{largest(p)[i]});
      total(p)[i] = (v == 0 ? 0 : total(p)[i] * shrink) + double{sums[i]};
    }
    subtract_targets(p, v, logits);
  }

  void subtract_targets(Index p, Index v, const T* logits) {
    for (Index i = 0; i < tokens_in(p); ++i) {
      const Index row = layer_.targets[token(p) + i] - v;
      if (row >= 0 && row < rows_in(v))
        layer_.losses[token(p) + i] -= double{logits[row * kPanel + i]};
    }
  }

  /// Gradients of the logits of symbols from v on, 0 for lanes without a token; to may be from.
  void logits_backward(Index p, Index v, const T* from, T* to) {
    if (layer_.targets != nullptr)
      loss_backward(p, v, from, to);
    else
      for (Index j = 0; j < rows_in(v) * kPanel; ++j) to[j] = 0;
    if (layer_.d_given == nullptr) return;
    for (Index i = 0; i < tokens_in(p); ++i)
      for (Index j = 0; j < rows_in(v); ++j)
        to[j * kPanel + i] += layer_.d_given[(token(p) + i) * v_ + v + j];
  }

  void loss_backward(Index p, Index v, const T* from, T* to) {
    const Index rows = rows_in(v), count = tokens_in(p);
    const double share = layer_.d_loss / static_cast<double>(layer_.counted);  // of the mean
    T scales[kPanel] = {};
    for (Index i = 0; i < count; ++i)
      if (counts(p, i)) scales[i] = static_cast<T>(share / total(p)[i]);
    const Row<T> scale = load_row(scales), top = load_row(largest(p));
    for (Index j = 0; j < rows; ++j) {
      const Row<T> e = map(load_row(from + j * kPanel), top,
                           [](Vec<T> a, Vec<T> b) { return exponential(a - b); });
      store_row(to + j * kPanel, map(e, scale, [](Vec<T> a, Vec<T> b) { return a * b; }));
    }
    for (Index i = 0; i < count; ++i) {
      const Index row = layer_.targets[token(p) + i] - v;
      if (row >= 0 && row < rows) to[row * kPanel + i] -= static_cast<T>(share);
    }
  }

  void tokens_backward(Index p) {
    T* rows = room_;
    const Index n = token(p), count = tokens_in(p);
    panel_to_rows<T>(d_normed(p), count, c_, [&](Index i) { return rows + i * padded(c_); });
    normalise_panel_backward<T>(
        layer_.norm, n, count, layer_.x + n * c_, rows, /*d_past=*/nullptr, c_, layer_.d_x + n * c_,
        clear_norm_parts(layer_.norm_parts + (first_ + p) * 2 * padded(c_), c_));
  }

  const Vocabulary<T>& layer_;
  Index c_, v_, first_, count_;
  T* values_;  // (count, C, kPanel)
  T* room_;    // a block of logits, or rows of tokens
};

/// Rows of the head that one task takes the gradients of.
inline constexpr Index kHeadRows = 24;

/// Of a chunk; the norm's are one more, after the last chunk.
template <class T>
Index vocabulary_gradient_tasks(const Vocabulary<T>& layer) {
  const Index left = layer.symbols - layer.chunk;
  const Index rows = left < layer.chunk_size ? left : layer.chunk_size;
  return (rows + kHeadRows - 1) / kHeadRows + (left <= layer.chunk_size ? 1 : 0);
}

template <class T>
void vocabulary_gradients(const Vocabulary<T>& layer, Index task) {
  const Index c = layer.width, panels = panels_of(layer.tokens);
  const Index end = layer.chunk + layer.chunk_size < layer.symbols ? layer.chunk + layer.chunk_size
                                                                   : layer.symbols;
  const Index first = layer.chunk + task * kHeadRows;
  if (first >= end) return sum_norm_parts(layer.norm, layer.norm_parts, panels, c);
  const Index rows = end - first < kHeadRows ? end - first : kHeadRows;
  const Factor<T> left{layer.d_logits + task * kHeadRows * kPanel, kPanel,
                       layer.chunk_size * kPanel};
  weight_gradient(rows, c, left, token_rows(layer.normed, c), panels,
                  layer.head.d_weight.from(first * c));
  bias_gradient(rows, left, panels, layer.head.d_bias.from(first));
}

}  // namespace moe::kernels::cpu::MOE_LEVEL
