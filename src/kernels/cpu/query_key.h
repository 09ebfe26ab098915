#pragma once

#include "kernels/cpu/attention_arguments.h"
#include "kernels/cpu/vector.h"

namespace moe::kernels::cpu::MOE_LEVEL {

// The stage between the product that gives queries and keys and the scores: an RMS norm of each
// head's D values (Dehghani et al. 2023, arXiv 2302.05442), then a rotation of its pairs
// (i, i + D/2) by the token's position (Su et al. 2021, arXiv 2104.09864).

/// 1 / sqrt(mean(x^2) + eps) over the rows (D, kPanel) of one head, a value a token.
template <class T>
inline Row<T> inverse_rms(const T* rows, Index d, double eps) {
  Row<T> sums{};
  for (Index i = 0; i < d; ++i)
    sums = map(sums, load_row(rows + i * kPanel), [](Vec<T> a, Vec<T> b) { return a + b * b; });
  T values[kPanel];
  store_row(values, sums);
  for (T& value : values)
    value = T{1} / static_cast<T>(
                       __builtin_sqrt(static_cast<double>(value) / static_cast<double>(d) + eps));
  return load_row(values);
}

/// The norm of one head's rows (D, kPanel), in place.
template <class T>
inline void normalise_head(const T* gain, Index d, double eps, T* rows) {
  const Row<T> inverse = inverse_rms(rows, d, eps);
  for (Index i = 0; i < d; ++i) {
    const T g = gain[i];
    store_row(rows + i * kPanel, map(load_row(rows + i * kPanel), inverse,
                                     [&](Vec<T> a, Vec<T> b) { return a * b * g; }));
  }
}

/// grads (D, kPanel), of what the norm yields, become those of what it read, `before`; the
/// gain's, summed over the tokens, is added to d_gain (D).
template <class T>
inline void normalise_head_backward(const T* before, const T* gain, Index d, double eps, T* grads,
                                    T* d_gain) {
  const Row<T> inverse = inverse_rms(before, d, eps);
  Row<T> products{};  // sum of gradient * gain * normed
  for (Index i = 0; i < d; ++i) {
    const Row<T> normed =
        map(load_row(before + i * kPanel), inverse, [](Vec<T> a, Vec<T> b) { return a * b; });
    const Row<T> both =
        map(normed, load_row(grads + i * kPanel), [](Vec<T> a, Vec<T> b) { return a * b; });
    const T g = gain[i];
    products = map(products, both, [&](Vec<T> a, Vec<T> b) { return a + b * g; });
    for (int v = 0; v < kVecs<T>; ++v) d_gain[i] += sum_of<T>(both.v[v]);
  }
  const T width = static_cast<T>(d);
  for (Index i = 0; i < d; ++i) {
    T* at = grads + i * kPanel;
    const Row<T> x = load_row(before + i * kPanel), dy = load_row(at);
    Row<T> dx;
    for (int v = 0; v < kVecs<T>; ++v)
      dx.v[v] =
          inverse.v[v] * (dy.v[v] * gain[i] - x.v[v] * inverse.v[v] * (products.v[v] / width));
    store_row(at, dx);
  }
}

/// One head's rows (D, kPanel) turned by angles (D, kPanel) of the tokens, or back.
template <class T>
inline void rotate_head(const T* angles, Index d, bool back, T* rows) {
  const Index half = d / 2;
  for (Index i = 0; i < half; ++i) {
    const Row<T> a = load_row(rows + i * kPanel), b = load_row(rows + (half + i) * kPanel);
    const Row<T> cosine = load_row(angles + i * kPanel);
    Row<T> sine = load_row(angles + (half + i) * kPanel);
    if (back) sine = map(sine, [](Vec<T> s) { return -s; });
    Row<T> first, second;
    for (int v = 0; v < kVecs<T>; ++v) {
      first.v[v] = a.v[v] * cosine.v[v] - b.v[v] * sine.v[v];
      second.v[v] = b.v[v] * cosine.v[v] + a.v[v] * sine.v[v];
    }
    store_row(rows + i * kPanel, first);
    store_row(rows + (half + i) * kPanel, second);
  }
}

/// The stage for one head's query or key of the first token, (D) values, in place.
template <class T>
inline void query_key_of_token(const QueryKey<T>& stage, const T* gain, Index d, T* values) {
  if (stage.normalises) {
    T squares = 0;
    for (Index i = 0; i < d; ++i) squares += values[i] * values[i];
    const T inverse =
        T{1} / static_cast<T>(__builtin_sqrt(static_cast<double>(squares) / static_cast<double>(d) +
                                             stage.eps));
    for (Index i = 0; i < d; ++i) values[i] = values[i] * inverse * gain[i];
  }
  if (!stage.rotates) return;
  const T* angles = stage.angles;
  const Index half = d / 2;
  for (Index i = 0; i < half; ++i) {
    const T a = values[i], b = values[half + i];
    values[i] = a * angles[i] - b * angles[half + i];
    values[half + i] = b * angles[i] + a * angles[half + i];
  }
}

}  // namespace moe::kernels::cpu::MOE_LEVEL
