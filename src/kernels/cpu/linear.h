#pragma once

#include "kernels/cpu/multiply.h"

namespace moe::kernels::cpu::MOE_LEVEL {

// The stage that a Linear is: its product with panels of tokens, and its gradients.

/// Panels (width, kPanel) of tokens, `stride` values from one to the next.
template <class T>
struct TokenPanels {
  T* data;
  Index count = 1, stride = 0;
  T* at(Index p) const { return data + p * stride; }
};

/// Value m of a bias; 0 if there is none.
template <class T>
inline T bias_at(const T* bias, Index m) {
  return bias == nullptr ? T{0} : bias[m];
}

/// Panels `to` (rows, kPanel) = weight x + bias. weight (rows, depth); bias (rows), or null for
/// none.
template <class T>
inline void apply_linear(const T* weight, const T* bias, Index rows, Index depth, TokenPanels<T> x,
                         TokenPanels<T> to) {
  multiply<Left::row_major>(rows, Factor<T>{weight, depth}, Factor<T>{x.data, kPanel}, {depth},
                            {x.count, x.stride}, [&](Index m, Index p, const Row<T>& row) {
                              const T value = bias_at(bias, m);
                              store_row(to.at(p) + m * kPanel,
                                        map(row, [&](Vec<T> a) { return a + value; }));
                            });
}

/// The gradient of a Linear's input, panels `to` (depth, kPanel), from that of its outcome,
/// d (rows, kPanel): it takes the place of what is there, or is added to it.
template <class T>
inline void linear_backward(const T* weight, Index rows, Index depth, TokenPanels<T> d,
                            TokenPanels<T> to, bool adds = false) {
  multiply<Left::column_major>(
      depth, Factor<T>{weight, depth}, Factor<T>{d.data, kPanel}, {rows}, {d.count, d.stride},
      [&](Index m, Index p, const Row<T>& row) {
        T* at = to.at(p) + m * kPanel;
        if (!adds) return store_row(at, row);
        store_row(at, map(row, load_row(at), [](Vec<T> a, Vec<T> b) { return a + b; }));
      });
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
