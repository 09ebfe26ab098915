#pragma once

#include "common.cuh"

// Layer and RMS norm, after kernels/cpu/norm.h: y = (x - mean) * inverse_std * weight + bias, where
// an RMS norm has a mean of 0. Shapes: N rows of C values.

namespace moe::kernels::cuda {

/// What a norm is, and the statistics that its backward reads.
template <class T>
struct Norm {
  const T* weight;  // (C), null: 1
  const T* bias;    // (C), null: none
  bool centres;     // a layer norm; an RMS norm does not
  double eps;
  T* mean;         // (N)
  T* inverse_std;  // (N)
};

template <class T>
__device__ inline T weight_at(const Norm<T>& norm, Index c) {
  return norm.weight == nullptr ? T{1} : norm.weight[c];
}

/// y (N, C) from x (N, C), and the statistics. Grid: N; block: any. Twin: normalise.
template <class T>
__global__ void normalise(Norm<T> norm, const T* x, Index width, T* y) {
  const Index row = blockIdx.x;
  const T* mine = x + row * width;
  T mean = 0, squares = 0;
  if (norm.centres) {
    T sum = 0;
    for (Index c = threadIdx.x; c < width; c += blockDim.x) sum += mine[c];
    mean = block_sum(sum) / static_cast<T>(width);
  }
  for (Index c = threadIdx.x; c < width; c += blockDim.x)
    squares += (mine[c] - mean) * (mine[c] - mean);
  const T variance = block_sum(squares) / static_cast<T>(width);
  const T inverse = T{1} / static_cast<T>(sqrt(static_cast<double>(variance) + norm.eps));
  if (threadIdx.x == 0) {
    norm.mean[row] = mean;
    norm.inverse_std[row] = inverse;
  }
  for (Index c = threadIdx.x; c < width; c += blockDim.x) {
    const T scaled = (mine[c] - mean) * inverse * weight_at(norm, c);
    y[row * width + c] = norm.bias == nullptr ? scaled : scaled + norm.bias[c];
  }
}

/// d_x (N, C) from dy (N, C), plus d_past (N, C) of what passes by the norm, if it is not null.
/// Grid: N; block: any. Twin: normalise_panel_backward.
template <class T>
__global__ void normalise_backward(Norm<T> norm, const T* x, const T* dy, const T* d_past,
                                   Index width, T* d_x) {
  const Index first = blockIdx.x * width;
  const T mean = norm.mean[blockIdx.x], inverse = norm.inverse_std[blockIdx.x];
  T sum = 0, product = 0;
  for (Index c = threadIdx.x; c < width; c += blockDim.x) {
    const T g = dy[first + c] * weight_at(norm, c);
    sum += g;
    product += g * ((x[first + c] - mean) * inverse);
  }
  const T mean_g = norm.centres ? block_sum(sum) / static_cast<T>(width) : T{0};
  const T mean_gx = block_sum(product) / static_cast<T>(width);
  for (Index c = threadIdx.x; c < width; c += blockDim.x) {
    const T g = dy[first + c] * weight_at(norm, c), scaled = (x[first + c] - mean) * inverse;
    const T past = d_past == nullptr ? T{0} : d_past[first + c];
    d_x[first + c] = past + inverse * (g - mean_g - scaled * mean_gx);
  }
}

constexpr Index kNormRows = 64;  // whose gradients of weight and bias one thread adds up

/// parts (ceil(N / kNormRows), 2, C): the gradients of weight and bias from each stretch of rows.
/// Any grid, any block.
template <class T>
__global__ void norm_gradient_parts(Norm<T> norm, const T* x, const T* dy, Index rows, Index width,
                                    T* parts) {
  const Index stretches = pieces(rows, kNormRows);
  for (Index i = grid_thread(); i < stretches * width; i += grid_threads()) {
    const Index c = i % width, first = i / width * kNormRows;
    T d_weight = 0, d_bias = 0;
    for (Index n = first; n < rows && n < first + kNormRows; ++n) {
      const T g = dy[n * width + c];
      d_weight += g * ((x[n * width + c] - norm.mean[n]) * norm.inverse_std[n]);
      d_bias += g;
    }
    T* to = parts + i / width * 2 * width;
    to[c] = d_weight;
    to[width + c] = d_bias;
  }
}

/// The parts in their order, to d_weight (C) and d_bias (C), either of which may be null: added to
/// what is there, or in its place. Any grid, any block. Twin of both: sum_norm_parts.
template <class T>
__global__ void sum_norm_parts(const T* parts, Index rows, Index width, bool adds, T* d_weight,
                               T* d_bias) {
  const Index stretches = pieces(rows, kNormRows);
  for (Index i = grid_thread(); i < 2 * width; i += grid_threads()) {
    T* to = i < width ? d_weight : d_bias;
    if (to == nullptr) continue;
    T sum = 0;
    for (Index s = 0; s < stretches; ++s) sum += parts[s * 2 * width + i];
    to += i % width;
    *to = adds ? *to + sum : sum;
  }
}

}  // namespace moe::kernels::cuda
