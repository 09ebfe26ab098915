#pragma once

#include "kernels/cpu/vector.h"

namespace moe::kernels::cpu::MOE_LEVEL {

// The stage that a norm is: y = (x - mean) * inverse_std * weight, plus the bias if there is one.
// An RMS norm is the same with a mean of 0.

/// The bias is asked for once a row: within a sum the question would keep product and sum from
/// becoming one instruction, which rounds once.
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

/// The norm over the C features of token `n`; y is padded(C) long, its rest becomes 0. Statistics
/// are kept at place `n` of the norm's.
template <class T>
inline void normalise(const Norm<T>& norm, Index n, const T* x, Index width, T* y) {
  constexpr int kStep = kLanes<T>;
  Vec<T> sums{};
  for (Index c = 0; c < width; c += kStep) sums += load_part(x + c, width - c);
  const T mean = norm.kind == NormKind::rms ? T{0} : sum_of<T>(sums) / static_cast<T>(width);
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
  const T mean_g = norm.kind == NormKind::rms ? T{0} : sum_of<T>(sums) / static_cast<T>(width);
  const T mean_gx = sum_of<T>(products) / static_cast<T>(width);
  for (Index c = 0; c < width; c += kStep) {
    const Index left = width - c;
    const Vec<T> gw = load_part(dy + c, left) * load_part(norm.weight + c, left);
    const Vec<T> xhat = (load_part(x + c, left) - mean) * inverse;
    store_part(dx + c, load_part(dx + c, left) + inverse * (gw - mean_g - xhat * mean_gx), left);
  }
}

/// The norm of `count` tokens of a panel, whose statistics are from place `first` on: rows
/// (kPanel, padded(C)), 0 beyond the tokens. x (count, C).
template <class T>
inline void normalise_panel(const Norm<T>& norm, Index first, Index count, const T* x, Index width,
                            T* rows) {
  for (Index i = 0; i < count; ++i)
    normalise(norm, first + i, x + i * width, width, rows + i * padded(width));
  for (Index i = count * padded(width); i < kPanel * padded(width); ++i) rows[i] = 0;
}

/// The reverse: d_x (count, C) = the gradient through the norm, whose outcome has gradient d_rows
/// (count, padded(C)), plus that of what passes by it, d_past (count, C), if there is any.
template <class T>
inline void normalise_panel_backward(const Norm<T>& norm, Index first, Index count, const T* x,
                                     const T* d_rows, const T* d_past, Index width, T* d_x,
                                     T* parts) {
  for (Index i = 0; i < count * width; ++i) d_x[i] = d_past == nullptr ? T{0} : d_past[i];
  for (Index i = 0; i < count; ++i)
    normalise_backward(norm, first + i, x + i * width, d_rows + i * padded(width), width,
                       d_x + i * width, parts);
}

/// Room (2, padded(C)) for one task's part of the norm's gradients, empty.
template <class T>
inline T* clear_norm_parts(T* parts, Index width) {
  for (Index i = 0; i < 2 * padded(width); ++i) parts[i] = 0;
  return parts;
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

}  // namespace moe::kernels::cpu::MOE_LEVEL
