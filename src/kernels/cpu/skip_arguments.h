#pragma once

#include <cstdint>

namespace moe::kernels::cpu {

/// out = resid * x + stream_weight * stream + ngram_weight * ngrams, rows (N, C), and its backward.
template <class T>
struct Skip {
  std::int64_t tokens, width;
  T resid, stream_weight, ngram_weight;
  const T* x;
  const T *stream, *ngrams;  // null: not read
  T* out;
  // Backward.
  const T* d_out;
  T* d_x;
  T *d_stream, *d_ngrams;  // sums over the blocks behind; null as above
  bool begins;             // these sums begin here
  bool ends;               // x is the stream: its sum joins d_x
  double* parts;           // (panels, 3) of the gradients of the weights
};

}  // namespace moe::kernels::cpu
