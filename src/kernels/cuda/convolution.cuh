#pragma once

#include "common.cuh"

// The short causal convolution of each channel, after kernels/cpu/short_conv.h: y_t = x_t + sum
// over j < k of w_j x_{t-j}, where what lies in front of a window is 0. Shapes: N tokens of C
// channels, windows of T tokens, k taps.

namespace moe::kernels::cuda {

template <class T>
struct Convolution {
  Index tokens, width, time;
  int taps;
  const T* weight;  // (C, k): column j weighs the token j before

  /// How many taps meet a token of the window from token n on, going back or ahead.
  __device__ int taps_back(Index n) const { return at_most(n % time + 1); }
  __device__ int taps_ahead(Index n) const { return at_most(time - n % time); }
  __device__ int at_most(Index rows) const { return rows < taps ? static_cast<int>(rows) : taps; }
};

/// y (N, C) from x (N, C). Any grid, any block. Twin: convolve_row.
template <class T>
__global__ void convolve(Convolution<T> of, const T* x, T* y) {
  for (Index i = grid_thread(); i < of.tokens * of.width; i += grid_threads()) {
    const T* weight = of.weight + i % of.width * of.taps;
    T sum = x[i];
    for (int j = 0; j < of.taps_back(i / of.width); ++j) sum += weight[j] * x[i - j * of.width];
    y[i] = sum;
  }
}

/// dx (N, C) from dy (N, C), which are not the same: a token reads those behind it. Any grid, any
/// block. Twin: convolve_backward.
template <class T>
__global__ void convolve_backward(Convolution<T> of, const T* dy, T* dx) {
  for (Index i = grid_thread(); i < of.tokens * of.width; i += grid_threads()) {
    const T* weight = of.weight + i % of.width * of.taps;
    T sum = dy[i];
    for (int j = 0; j < of.taps_ahead(i / of.width); ++j) sum += weight[j] * dy[i + j * of.width];
    dx[i] = sum;
  }
}

constexpr Index kConvolutionTokens = 64;  // whose part of a weight's gradient one thread adds up

/// parts (ceil(N / kConvolutionTokens), C k) of the weights' gradients, which sum_stretches adds up
/// to (C, k). Any grid, any block. Twin: convolve_backward and sum_conv_parts.
template <class T>
__global__ void convolution_gradient_parts(Convolution<T> of, const T* x, const T* dy,
                                           double* parts) {
  const Index weights = of.width * of.taps, stretches = pieces(of.tokens, kConvolutionTokens);
  for (Index i = grid_thread(); i < stretches * weights; i += grid_threads()) {
    const Index c = i % weights / of.taps, j = i % of.taps,
                first = i / weights * kConvolutionTokens;
    T sum = 0;
    for (Index n = first; n < of.tokens && n < first + kConvolutionTokens; ++n)
      if (n % of.time >= j) sum += dy[n * of.width + c] * x[(n - j) * of.width + c];
    parts[i] = static_cast<double>(sum);
  }
}

}  // namespace moe::kernels::cuda
