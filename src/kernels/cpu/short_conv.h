#pragma once

#include "kernels/cpu/norm.h"

namespace moe::kernels::cpu::MOE_LEVEL {

// The stage that a short convolution is, between a norm and what reads it: channel by channel
// y_t = x_t + sum over j < k of w_j * x_{t-j}, where rows in front of a window are 0 (Allen-Zhu
// 2025, arXiv 2512.17351). Rows are padded(C) long.

/// Whether a layer has one is asked once a panel.
template <class T>
inline bool convolves(const ShortConv<T>& conv) {
  return conv.taps > 0;
}

template <class T>
inline T* conv_row(const ShortConv<T>& conv, Index token, Index width) {
  const Index window = token / conv.time;
  return conv.rows +
         (window * (conv.past + conv.time) + conv.past + token % conv.time) * padded(width);
}
/// How many weights meet a row of the token's window: at its beginning fewer than k.
template <class T>
inline Index taps_of(const ShortConv<T>& conv, Index token) {
  const Index rows = conv.past + token % conv.time + 1;
  return rows < conv.taps ? rows : conv.taps;
}

/// The norm of `count` tokens from `token` on, x (count, C), into their rows; statistics are kept
/// from place `first` on.
template <class T>
inline void normalise_rows(const Norm<T>& norm, Index first, const ShortConv<T>& conv, Index token,
                           Index count, const T* x, Index width) {
  for (Index i = 0; i < count; ++i)
    normalise(norm, first + i, x + i * width, width, conv_row(conv, token + i, width));
}

/// What the convolution yields for a token whose row and those before it are there: y (padded(C)).
template <class T>
inline void convolve_row(const ShortConv<T>& conv, Index token, Index width, T* y) {
  const Index stride = padded(width), taps = taps_of(conv, token);
  const T* x = conv_row(conv, token, width);
  for (Index c = 0; c < stride; c += kLanes<T>) {
    Vec<T> sum = load(x + c);
    for (Index j = 0; j < taps; ++j)
      sum += load(conv.weight + j * stride + c) * load(x - j * stride + c);
    store(y + c, sum);
  }
}
/// The same for `count` tokens of a panel: y (kPanel, padded(C)), 0 beyond the tokens.
template <class T>
inline void convolve_panel(const ShortConv<T>& conv, Index token, Index count, Index width, T* y) {
  for (Index i = 0; i < count; ++i) convolve_row(conv, token + i, width, y + i * padded(width));
  for (Index i = count * padded(width); i < kPanel * padded(width); ++i) y[i] = 0;
}

/// The reverse for one token: dx, the gradient of its row, from those of its outcome and of later
/// ones of its window, dy and the rows behind it; dx may be dy. Adds to parts (k, padded(C)) what
/// the weights' gradients get from the token's outcome.
template <class T>
inline void convolve_backward(const ShortConv<T>& conv, Index token, const T* dy, Index width,
                              T* dx, T* parts) {
  const Index stride = padded(width), taps = taps_of(conv, token);
  const Index left = conv.time - token % conv.time, later = left < conv.taps ? left : conv.taps;
  const T* x = conv_row(conv, token, width);
  for (Index c = 0; c < stride; c += kLanes<T>) {
    const Vec<T> g = load(dy + c);
    for (Index j = 0; j < taps; ++j) {
      T* part = parts + j * stride + c;
      store(part, load(part) + g * load(x - j * stride + c));
    }
    Vec<T> sum = g;
    for (Index j = 0; j < later; ++j)
      sum += load(conv.weight + j * stride + c) * load(dy + j * stride + c);
    store(dx + c, sum);
  }
}

/// Room (k, padded(C)) for one task's part of the weights' gradients, empty.
template <class T>
inline T* clear_conv_parts(const ShortConv<T>& conv, Index task, Index width) {
  const Index size = conv.taps * padded(width);
  T* parts = conv.parts + task * size;
  for (Index i = 0; i < size; ++i) parts[i] = 0;
  return parts;
}

/// The weights' gradients (C, k) from the parts of `count` tasks, summed in order.
template <class T>
inline void sum_conv_parts(const ShortConv<T>& conv, Index count, Index width) {
  const auto& slot = conv.d_weight;
  if (slot.to == nullptr) return;
  for (Index j = 0; j < conv.taps; ++j)
    for (Index c = 0; c < width; ++c) {
      T* to = slot.to + c * conv.taps + j;
      T total = slot.adds ? *to : T{0};
      for (Index i = 0; i < count; ++i)
        total += conv.parts[(i * conv.taps + j) * padded(width) + c];
      *to = total;
    }
}

}  // namespace moe::kernels::cpu::MOE_LEVEL
