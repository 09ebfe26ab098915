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

/// How the values of an attention layer meet those of the first block: that one gives them, later
/// ones mix them in (value_residual.h).
template <class T>
struct ValueResidual {
  bool gives = false, mixes = false;
  T lambda = 0;
  T* first = nullptr;  // (B * P, C, kPanel), or, of a step, (B, C)
  T* own = nullptr;    // (B * P, C, kPanel) kept for backward; null: not kept
  // Backward.
  T* d_first = nullptr;     // as `first`: its sum over the blocks behind
  bool begins = false;      // that sum begins here
  double* parts = nullptr;  // (B) one window's part of the weight's gradient
};

}  // namespace moe::kernels::cpu
