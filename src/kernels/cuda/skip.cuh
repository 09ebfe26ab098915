#pragma once

#include "draws.cuh"

// What a block reads past the block before it, after kernels/cpu/skip.h: resid x + stream_weight
// stream + ngram_weight ngrams, value by value. Shapes: P values, N C of them; weights are one
// number each, parameters in device memory.

namespace moe::kernels::cuda {

/// What there is to read; null: it is not read, and x alone counts once.
template <class T>
struct Skip {
  Index count;
  const T *x, *stream, *ngrams;                   // (P)
  const T *resid, *stream_weight, *ngram_weight;  // (1)

  __device__ T resid_or_one() const { return resid == nullptr ? T{1} : *resid; }
};

/// out (P), which may be x. Any grid, any block. Twin: skip_forward.
template <class T>
__global__ void enter_block(Skip<T> skip, T* out) {
  const T resid = skip.resid_or_one();
  for (Index i = grid_thread(); i < skip.count; i += grid_threads()) {
    T sum = skip.x[i] * resid;
    if (skip.stream != nullptr) sum += skip.stream[i] * *skip.stream_weight;
    if (skip.ngrams != nullptr) sum += skip.ngrams[i] * *skip.ngram_weight;
    out[i] = sum;
  }
}

template <class T>
struct SkipGradients {
  const T* d_out;          // (P)
  T *d_stream, *d_ngrams;  // (P) sums over the blocks behind; null as what they belong to
  bool begins;             // these sums begin here
  bool ends;               // x is the stream: its sum joins d_x
  T* d_x;                  // (P), which may be d_out
  double* parts;           // (ceil(P / kSkipStretch), 3) of the gradients of the weights
};
constexpr Index kSkipStretch = 4096;
constexpr int kSkipThreads = 256;

/// The sum of a source's gradients with this block's, and where this value's own weight gets its
/// part, in double: the terms of that nearly cancel.
template <class T>
__device__ inline T source_backward(T d, T source, T weight, bool begins, T* sum, double& part) {
  part += static_cast<double>(d * source);
  return *sum = d * weight + (begins ? T{0} : *sum);
}

/// d_x, d_stream and d_ngrams from d_out; parts, which sum_stretches adds up: of resid, of the
/// stream's weight, of the n-grams'. Grid: ceil(P / kSkipStretch); block: kSkipThreads. Twin:
/// skip_backward.
template <class T>
__global__ void enter_block_backward(Skip<T> skip, SkipGradients<T> gradients) {
  const T resid = skip.resid_or_one();
  const Index first = Index{blockIdx.x} * kSkipStretch, rest = skip.count - first;
  const Index end = first + (rest < kSkipStretch ? rest : kSkipStretch);
  double of_resid = 0, of_stream = 0, of_ngrams = 0;
  for (Index i = first + threadIdx.x; i < end; i += kSkipThreads) {
    const T d = gradients.d_out[i];
    of_resid += static_cast<double>(d * skip.x[i]);
    T d_x = d * resid;
    if (skip.stream != nullptr) {
      const T sum = source_backward(d, skip.stream[i], *skip.stream_weight, gradients.begins,
                                    gradients.d_stream + i, of_stream);
      if (gradients.ends) d_x += sum;
    }
    if (skip.ngrams != nullptr)
      source_backward(d, skip.ngrams[i], *skip.ngram_weight, gradients.begins,
                      gradients.d_ngrams + i, of_ngrams);
    gradients.d_x[i] = d_x;
  }
  of_resid = block_sum(of_resid);
  of_stream = block_sum(of_stream);
  of_ngrams = block_sum(of_ngrams);
  if (threadIdx.x != 0) return;
  double* parts = gradients.parts + Index{blockIdx.x} * 3;
  parts[0] = of_resid;
  parts[1] = of_stream;
  parts[2] = of_ngrams;
}

/// out (N, C) = x + y after dropout: what a layer adds to the stream. out may be x or y; backward
/// is `drop` of d_out for y, and d_out itself for x. Any grid, any block. Twin: add_to_residual.
template <class T>
__global__ void add_residual(Dropout dropout, bool drops, Index tokens, Index width, const T* x,
                             const T* y, T* out) {
  for_each_block(tokens, width, [&](Index n, Index block, Index first, int count) {
    Factors<T> kept{{T{1}, T{1}, T{1}, T{1}}};
    if (drops) kept = dropout_factors<T>(dropout, n, block);
    for_each_value(count,
                   [&](int w) { out[first + w] = x[first + w] + y[first + w] * kept.factor[w]; });
  });
}

}  // namespace moe::kernels::cuda
