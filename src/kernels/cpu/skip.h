#pragma once

#include "kernels/cpu/vector.h"

namespace moe::kernels::cpu::MOE_LEVEL {

// The stage before a block that reads more than the stream: a sum of rows, each by a number.

/// Calls use(n, left) for the values of a panel's tokens, a vector at a time: where they are, and
/// how many of the token's are left. done() follows each token.
template <class T, class Use, class Done>
inline void for_skip_values(const Skip<T>& skip, Index panel, const Use& use, const Done& done) {
  const Index first = panel * kPanel, left = skip.tokens - first;
  for (Index t = first; t < first + (left < kPanel ? left : kPanel); ++t) {
    for (Index c = 0; c < skip.width; c += kLanes<T>) use(t * skip.width + c, skip.width - c);
    done();
  }
}

template <class T>
void skip_forward(const Skip<T>& skip, Index panel) {
  for_skip_values(
      skip, panel,
      [&](Index n, Index left) {
        Vec<T> sum = load_part(skip.x + n, left) * skip.resid;
        if (skip.stream != nullptr) sum += load_part(skip.stream + n, left) * skip.stream_weight;
        if (skip.ngrams != nullptr) sum += load_part(skip.ngrams + n, left) * skip.ngram_weight;
        store_part(skip.out + n, sum, left);
      },
      [] {});
}

/// Adds `weight` times the gradient to the sum of a source, if that has one; returns the part of
/// the weight's own gradient, summed token by token in double: its terms nearly cancel.
template <class T>
inline double source_backward(const Skip<T>& skip, Index panel, const T* source, T weight,
                              T* d_source) {
  double total = 0;
  Vec<T> products{};
  for_skip_values(
      skip, panel,
      [&](Index n, Index left) {
        const Vec<T> g = load_part(skip.d_out + n, left);
        products += g * load_part(source + n, left);
        if (d_source == nullptr) return;
        Vec<T> sum = g * weight;
        if (!skip.begins) sum += load_part(d_source + n, left);
        store_part(d_source + n, sum, left);
      },
      [&] {
        total += static_cast<double>(sum_of<T>(products));
        products = Vec<T>{};
      });
  return total;
}

template <class T>
void skip_backward(const Skip<T>& skip, Index panel) {
  double* parts = skip.parts + panel * 3;
  parts[0] = source_backward<T>(skip, panel, skip.x, T{0}, nullptr);
  parts[1] = parts[2] = 0;
  if (skip.stream != nullptr)
    parts[1] = source_backward(skip, panel, skip.stream, skip.stream_weight, skip.d_stream);
  if (skip.ngrams != nullptr)
    parts[2] = source_backward(skip, panel, skip.ngrams, skip.ngram_weight, skip.d_ngrams);
  const bool joins = skip.ends && skip.stream != nullptr;
  for_skip_values(
      skip, panel,
      [&](Index n, Index left) {
        Vec<T> sum = load_part(skip.d_out + n, left) * skip.resid;
        if (joins) sum += load_part(skip.d_stream + n, left);
        store_part(skip.d_x + n, sum, left);
      },
      [] {});
}

}  // namespace moe::kernels::cpu::MOE_LEVEL
