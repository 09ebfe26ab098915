#pragma once

#include "kernels/cpu/arguments.h"

namespace moe::kernels::cpu {

/// What each head's query and key go through before they meet: an RMS norm over D values with gains
/// (D), then a rotation. Flags say what of it there is.
template <class T>
struct QueryKey {
  bool normalises = false, rotates = false;
  const T *query_gain = nullptr, *key_gain = nullptr;
  GradientSlot<T> d_query_gain = {}, d_key_gain = {};
  double eps = 0;
  const T* angles = nullptr;  // (T, D): cosines of the D/2 pairs, then sines
  T* before = nullptr;        // (panels, 2C, kPanel) what the norm read: queries, then keys
  T* gain_parts = nullptr;    // (B, 2, D) one window's part of the gains' gradients
};

/// out = x + proj(heads(norm(x))) of one new token of each of B sequences.
template <class T>
struct AttentionStep {
  std::int64_t sequences, width, heads;
  std::int64_t place, filled;  // where the new tokens go in the cache, and how many there are then
  double score_scale;
  Norm<T> norm;       // statistics (B)
  ShortConv<T> conv;  // of its normed values
  Linear<T> qkv, proj;
  QueryKey<T> query_key;
  ValueResidual<T> value_residual;
  const T* x;  // (B, C)
  T* out;      // (B, C)
  Cache<T> cache;
  T* normed;      // (B, padded(C))
  T* qkv_values;  // (B, 3C)
  T* mixed;       // (B, padded(C))
};

/// out = x + dropout(proj(heads(norm(x)))), and its backward.
template <class T>
struct Attention {
  std::int64_t windows, time, width, heads;
  double score_scale;
  TokenKeys keys;
  Dropout weights_dropout, output_dropout;

  Norm<T> norm;       // statistics (B * P * kPanel)
  ShortConv<T> conv;  // of its normed rows; one part of the gradient a window
  Linear<T> qkv;      // weight (3C, C): query, key, value
  Linear<T> proj;     // (C, C)
  QueryKey<T> query_key;
  ValueResidual<T> value_residual;
  const T* x;  // (N, C)
  T* out;      // (N, C)
  // Kept for backward, or scratch of the forward alone.
  T* normed;         // (B * P * kPanel, padded(C)) rows, convolved if they are
  T* qkv_panels;     // (B * P, 3C, kPanel)
  T* mixed;          // (B * P, C, kPanel) what the heads answer
  T* softmax_max;    // (B * P, H, kPanel)
  T* softmax_scale;  // (B * P, H, kPanel) 1 / sum of exponentials
  Cache<T> cache;    // where keys and values go besides, if anywhere
  // Backward.
  const T* d_out;  // (N, C)
  T* d_x;          // (N, C)
  T* d_output;     // (B * P, C, kPanel) gradient of proj's outcome
  T* d_qkv;        // (B * P, 3C, kPanel)
  T* mixed_rows;   // (B * P * kPanel, padded(C))
  T* norm_parts;   // (B, 2, padded(C)) one window's part of the norm's gradients

  std::int64_t panels() const { return panels_of(time); }
};

}  // namespace moe::kernels::cpu
