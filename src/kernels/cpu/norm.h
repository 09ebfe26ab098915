#pragma once

#include "kernels/cpu/vector.h"

namespace moe::kernels::cpu::MOE_LEVEL {

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
  Index c = 0;
  for (; c + kStep <= width; c += kStep)
    store(y + c, (load(x + c) - mean) * inverse * load(norm.weight + c) + load(norm.bias + c));
  for (; c < width; ++c) y[c] = (x[c] - mean) * inverse * norm.weight[c] + norm.bias[c];
  for (; c < padded(width); ++c) y[c] = 0;
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
inline void sum_norm_parts(const Norm<T>& norm, const T* parts, Index count, Index width,
                           bool fresh) {
  const Index stride = 2 * padded(width);
  for (Index c = 0; c < width; ++c) {
    T weight = fresh ? T{0} : norm.d_weight[c], bias = fresh ? T{0} : norm.d_bias[c];
    for (Index i = 0; i < count; ++i) {
      weight += parts[i * stride + c];
      bias += parts[i * stride + padded(width) + c];
    }
    norm.d_weight[c] = weight;
    norm.d_bias[c] = bias;
  }
}

/// d_weight rows [first, first + rows) x `width` columns of a Linear: the sum over tokens of
/// left[token][row] * right[token][column]. `left` holds panels (any, kPanel) of which row m begins
/// at left + m * kPanel; `right` rows of tokens, padded(width) long.
template <class T>
inline void weight_gradient(Index rows, Index width, Factor<T> left, const T* right, Index panels,
                            T* d_weight, bool fresh) {
  const Index stride = padded(width);
  for (Index c = 0; c < width; c += kPanel) {
    const Factor<T> b{right + c, stride, kPanel * stride};
    const Index left_columns = width - c;
    multiply<Left::row_major>(rows, left, b, {kPanel, panels}, [&](Index m, Row<T> row) {
      T* to = d_weight + m * width + c;
      if (left_columns >= kPanel) {
        if (!fresh) row = map(row, load_row(to), [](Vec<T> a, Vec<T> b2) { return a + b2; });
        store_row(to, row);
        return;
      }
      T values[kPanel];
      store_row(values, row);
      for (Index i = 0; i < left_columns; ++i) to[i] = values[i] + (fresh ? T{0} : to[i]);
    });
  }
}

/// d_bias[row] for rows [0, rows): the sum over tokens of left[token][row].
template <class T>
inline void bias_gradient(Index rows, Factor<T> left, Index panels, T* d_bias, bool fresh) {
  for (Index m = 0; m < rows; ++m) {
    Row<T> sums{};
    for (Index p = 0; p < panels; ++p)
      sums = map(sums, load_row(left.data + p * left.segment + m * left.stride),
                 [](Vec<T> a, Vec<T> b) { return a + b; });
    T total = fresh ? T{0} : d_bias[m];
    for (int v = 0; v < kVecs<T>; ++v) total += sum_of<T>(sums.v[v]);
    d_bias[m] = total;
  }
}

}  // namespace moe::kernels::cpu::MOE_LEVEL
