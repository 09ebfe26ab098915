#pragma once

#include "kernels/cpu/multiply.h"

namespace moe::kernels::cpu::MOE_LEVEL {

/// Value m of a bias; 0 if there is none.
template <class T>
inline T bias_at(const T* bias, Index m) {
  return bias == nullptr ? T{0} : bias[m];
}

/// y = (x - mean) * inverse_std * weight, plus the bias if there is one. That is asked once a row:
/// within a sum the question would keep product and sum from becoming one instruction, which rounds
/// once.
template <bool kHasBias, class T>
inline void scale_and_shift(const Norm<T>& norm, const T* x, T mean, T inverse_std, Index width,
                            T* y) {
  constexpr int kStep = kLanes<T>;
  Index c = 0;
  for (; c + kStep <= width; c += kStep) {
    Vec<T> value = (load(x + c) - mean) * inverse_std * load(norm.weight + c);
    if constexpr (kHasBias) value = value + load(norm.bias + c);
    store(y + c, value);
  }
  for (; c < width; ++c) {
    T value = (x[c] - mean) * inverse_std * norm.weight[c];
    if constexpr (kHasBias) value = value + norm.bias[c];
    y[c] = value;
  }
}

/// y = (x - mean) / std * weight + bias over the C features of token `n`; y is padded(C) long, its
/// rest becomes 0. Statistics are kept at place `n` of the norm's.
template <class T>
inline void normalise(const Norm<T>& norm, Index n, const T* x, Index width, T* y) {
  constexpr int kStep = kLanes<T>;
  Vec<T> sums{};
  for (Index c = 0; c < width; c += kStep) sums += load_part(x + c, width - c);
  const T mean = sum_of<T>(sums) / static_cast<T>(width);
  Vec<T> squares{};
  for (Index c = 0; c + kStep <= width; c += kStep) {
    const Vec<T> d = load(x + c) - mean;
    squares += d * d;
  }
  T variance = sum_of<T>(squares);
  for (Index c = width / kStep * kStep; c < width; ++c) variance += (x[c] - mean) * (x[c] - mean);
  variance /= static_cast<T>(width);
  const T inverse = T{1} / static_cast<T>(__builtin_sqrt(variance + norm.eps));
  norm.mean[n] = mean;
  norm.inverse_std[n] = inverse;
  if (norm.bias != nullptr)
    scale_and_shift<true>(norm, x, mean, inverse, width, y);
  else
    scale_and_shift<false>(norm, x, mean, inverse, width, y);
  for (Index c = width; c < padded(width); ++c) y[c] = 0;
}

/// Adds to dx the gradient through the norm of token `n`, whose outcome has gradient dy; adds its
/// part of the parameters' gradients to parts (2, padded(C)).
template <class T>
inline void normalise_backward(const Norm<T>& norm, Index n, const T* x, const T* dy, Index width,
                               T* dx, T* parts) {
  constexpr int kStep = kLanes<T>;
  const T mean = norm.mean[n], inverse = norm.inverse_std[n];
  T *d_weight = parts, *d_bias = parts + padded(width);
  Vec<T> sums{}, products{};
  for (Index c = 0; c < width; c += kStep) {
    const Index left = width - c;
    const Vec<T> g = load_part(dy + c, left), gw = g * load_part(norm.weight + c, left);
    const Vec<T> xhat = (load_part(x + c, left) - mean) * inverse;
    sums += gw;
    products += gw * xhat;
    store_part(d_weight + c, load_part(d_weight + c, left) + g * xhat, left);
    store_part(d_bias + c, load_part(d_bias + c, left) + g, left);
  }
  const T mean_g = sum_of<T>(sums) / static_cast<T>(width);
  const T mean_gx = sum_of<T>(products) / static_cast<T>(width);
  for (Index c = 0; c < width; c += kStep) {
    const Index left = width - c;
    const Vec<T> gw = load_part(dy + c, left) * load_part(norm.weight + c, left);
    const Vec<T> xhat = (load_part(x + c, left) - mean) * inverse;
    store_part(dx + c, load_part(dx + c, left) + inverse * (gw - mean_g - xhat * mean_gx), left);
  }
}

/// The norm's gradients from `count` parts (2, padded(C)) each, summed in order.
template <class T>
inline void sum_norm_parts(const Norm<T>& norm, const T* parts, Index count, Index width) {
  const auto sum = [&](const T* first, GradientSlot<T> slot) {
    if (slot.to == nullptr) return;
    for (Index c = 0; c < width; ++c) {
      T total = slot.adds ? slot.to[c] : T{0};
      for (Index i = 0; i < count; ++i) total += first[i * 2 * padded(width) + c];
      slot.to[c] = total;
    }
  };
  sum(parts, norm.d_weight);
  sum(parts + padded(width), norm.d_bias);
}

/// The right factor of a weight's gradient: tokens by features, kPanel features side by side, in
/// blocks of kPanel features that lie `block` elements apart.
template <class T>
struct TokenFactor {
  Factor<T> first;  // segments are panels of tokens
  Index block;
};
/// Rows of tokens, padded(width) long.
template <class T>
inline TokenFactor<T> token_rows(const T* rows, Index width) {
  return {{rows, padded(width), kPanel * padded(width)}, kPanel};
}
/// Panels from `panel` on as `turn_panel` leaves them: what one block needs lies together.
template <class T>
inline TokenFactor<T> turned(const T* panels, Index width, Index panel) {
  return {{panels + panel * padded(width) * kPanel, kPanel, padded(width) * kPanel},
          kPanel * kPanel};
}
/// A panel (width, kPanel) into (blocks of width, kPanel tokens, kPanel); zeros beyond the width.
template <class T>
inline void turn_panel(const T* panel, Index width, T* to) {
  for (Index c = 0; c < width; c += kPanel)
    rows_to_panel<T>(
        width - c < kPanel ? width - c : kPanel, kPanel,
        [&](Index i) { return panel + (c + i) * kPanel; }, to + c * kPanel);
}

/// Panels of tokens, of `panels`, that a weight's gradient sums at a time. Up to kMany of them fit
/// the second cache. Of more, as many as let what a tile reads of the right factor stay in the
/// first cache for the rows after it; adding to the gradient each time costs less than fetching
/// that again: measured with avx512's floats, and taken over by bytes for the others. Rounded
/// operands are cut in parts of their own (multiply_bfloat16.h).
template <class T>
constexpr Index gradient_panels(Index panels) {
#ifdef MOE_BFLOAT16
  return panels;
#else
  constexpr Index kMany = 64, kNear = 24 * 1024;  // [bytes]: half a first cache
  constexpr Index kPanelBytes = kTilePanels<T> * kPanel * kPanel * sizeof(T);
  return panels > kMany ? kNear / kPanelBytes : panels;
#endif
}

/// d_weight (rows, width) of a Linear: the sum over tokens of left[token][row] *
/// right[token][column]. `left` holds panels (any, kPanel) of which row m begins at
/// left + m * kPanel. Without panels it is 0.
template <class T>
inline void weight_gradient(Index rows, Index width, Factor<T> left, TokenFactor<T> right,
                            Index panels, GradientSlot<T> d_weight) {
  if (d_weight.to == nullptr) return;
  const Index blocks = panels_of(width);
  const Index most = gradient_panels<T>(panels);
  Index together = 0;
  for (Index block = 0; block < blocks; block += together) {
    together = panels_at_once<T>(blocks - block);
    Index panel = 0;
    do {
      const Index rest = panels - panel;
      const bool sets = !d_weight.adds && panel == 0;
      Factor<T> a = left, b = right.first;
      a.data += panel * a.segment;
      b.data += panel * b.segment + block * right.block;
      multiply<Left::row_major>(
          rows, a, b, PanelSegments{rest < most ? rest : most}, {together, right.block},
          [&](Index m, Index p, Row<T> row) {
            const Index c = (block + p) * kPanel;
            T* to = d_weight.to + m * width + c;
            __builtin_prefetch(to + kTileRows<T> * width, 1);  // where the next tile goes
            if (width - c >= kPanel) {
              if (!sets) row = map(row, load_row(to), [](Vec<T> x, Vec<T> y) { return x + y; });
              return store_row(to, row);
            }
            T values[kPanel];
            store_row(values, row);
            for (Index i = 0; i < width - c; ++i) to[i] = values[i] + (sets ? T{0} : to[i]);
          });
      panel += most;
    } while (panel < panels);
  }
}

/// d_bias[row] for rows [0, rows): the sum over tokens of left[token][row].
template <class T>
inline void bias_gradient(Index rows, Factor<T> left, Index panels, GradientSlot<T> d_bias) {
  if (d_bias.to == nullptr) return;
  for (Index m = 0; m < rows; ++m) {
    Row<T> sums{};
    for (Index p = 0; p < panels; ++p)
      sums = map(sums, load_row(left.data + p * left.segment + m * left.stride),
                 [](Vec<T> a, Vec<T> b) { return a + b; });
    T total = d_bias.adds ? d_bias.to[m] : T{0};
    for (int v = 0; v < kVecs<T>; ++v) total += sum_of<T>(sums.v[v]);
    d_bias.to[m] = total;
  }
}

}  // namespace moe::kernels::cpu::MOE_LEVEL
