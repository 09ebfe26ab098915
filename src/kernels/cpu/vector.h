#pragma once

// Included once by each file of levels/, inside whose flags and namespace (MOE_LEVEL) it is
// compiled: the same source, once for each instruction set. Nothing of the standard library's
// inline functions may be used here, or the linker could keep the copy that only newer processors
// run.

#include <cstdint>

#ifdef __x86_64__
#include <immintrin.h>
#endif

#include "kernels/cpu/arguments.h"

namespace moe::kernels::cpu::MOE_LEVEL {

using Index = std::int64_t;

/// A number as a type, std::integral_constant's twin.
template <int kValue>
struct Constant {
  constexpr int operator()() const { return kValue; }
};

template <class T>
struct VectorOf {
  typedef T Type __attribute__((vector_size(MOE_VECTOR_BYTES)));
};
template <class T>
using Vec = typename VectorOf<T>::Type;

template <class T>
inline constexpr int kLanes = MOE_VECTOR_BYTES / static_cast<int>(sizeof(T));
/// Vectors in one row of a panel (kPanel tokens).
template <class T>
inline constexpr int kVecs = kPanel / kLanes<T>;

/// One row of a panel: the same feature of kPanel tokens.
template <class T>
struct Row {
  Vec<T> v[kVecs<T>];
};

template <class T>
[[gnu::always_inline]] inline Vec<T> load(const T* from) {
  Vec<T> v;
  __builtin_memcpy(&v, from, sizeof v);
  return v;
}
template <class T>
[[gnu::always_inline]] inline void store(T* to, Vec<T> v) {
  __builtin_memcpy(to, &v, sizeof v);
}
/// The first `count` elements; zeros beyond.
template <class T>
[[gnu::always_inline]] inline Vec<T> load_part(const T* from, Index count) {
  if (count >= kLanes<T>) return load(from);
  Vec<T> v{};
  for (Index i = 0; i < count; ++i) v[i] = from[i];
  return v;
}
template <class T>
[[gnu::always_inline]] inline void store_part(T* to, Vec<T> v, Index count) {
  if (count >= kLanes<T>) return store(to, v);
  for (Index i = 0; i < count; ++i) to[i] = v[i];
}

template <class T>
[[gnu::always_inline]] inline Row<T> load_row(const T* from) {
  Row<T> row;
  for (int i = 0; i < kVecs<T>; ++i) row.v[i] = load(from + i * kLanes<T>);
  return row;
}
template <class T>
[[gnu::always_inline]] inline void store_row(T* to, const Row<T>& row) {
  for (int i = 0; i < kVecs<T>; ++i) store(to + i * kLanes<T>, row.v[i]);
}
template <class T, class Apply>
[[gnu::always_inline]] inline Row<T> map(const Row<T>& a, Apply&& apply) {
  Row<T> out;
  for (int i = 0; i < kVecs<T>; ++i) out.v[i] = apply(a.v[i]);
  return out;
}
template <class T, class Apply>
[[gnu::always_inline]] inline Row<T> map(const Row<T>& a, const Row<T>& b, Apply&& apply) {
  Row<T> out;
  for (int i = 0; i < kVecs<T>; ++i) out.v[i] = apply(a.v[i], b.v[i]);
  return out;
}

template <class T>
[[gnu::always_inline]] inline Vec<T> maximum(Vec<T> a, Vec<T> b) {
  return a > b ? a : b;
}
template <class T>
[[gnu::always_inline]] inline T sum_of(Vec<T> v) {
  T total = v[0];
  for (int i = 1; i < kLanes<T>; ++i) total += v[i];
  return total;
}

/// e^x. In float by Cephes' reduction and polynomial (within 2 ulp on the range where the result is
/// normal; below it is 0); in double by the C library, lane by lane: only tests compute in double.
[[gnu::always_inline]] inline Vec<float> exponential(Vec<float> x) {
  using Int = VectorOf<std::int32_t>::Type;
  const Vec<float> lowest = Vec<float>{} - 87.3F, highest = Vec<float>{} + 88.0F;
  const Int underflow = x < lowest;
  x = x < lowest ? lowest : x;
  x = x > highest ? highest : x;
  constexpr float kMagic = 12582912.0F;  // 1.5 * 2^23: adding it rounds to the nearest integer
  const Vec<float> shifted = x * 1.44269504088896341F + kMagic;
  const Vec<float> n = shifted - kMagic;
  Vec<float> r = x - n * 0.693359375F;
  r = r + n * 2.12194440e-4F;
  Vec<float> p = r * 1.9875691500e-4F + 1.3981999507e-3F;
  p = p * r + 8.3334519073e-3F;
  p = p * r + 4.1665795894e-2F;
  p = p * r + 1.6666665459e-1F;
  p = p * r + 5.0000001201e-1F;
  p = p * r * r + r + 1.0F;
  Int bits;
  __builtin_memcpy(&bits, &shifted, sizeof bits);
  bits = ((bits - 0x4B400000) + 127) << 23;
  Vec<float> scale;
  __builtin_memcpy(&scale, &bits, sizeof scale);
  const Vec<float> result = p * scale;
  return underflow ? Vec<float>{} : result;
}
[[gnu::always_inline]] inline Vec<double> exponential(Vec<double> x) {
  for (int i = 0; i < kLanes<double>; ++i) x[i] = __builtin_exp(x[i]);
  return x;
}

/// Rows of kPanel tokens, each `stride` apart, into the panel (width, kPanel); `rows` tokens are
/// there, the others become 0. `token(i)` is where token i begins.
template <class T, class Token>
inline void rows_to_panel(Index rows, Index width, Token&& token, T* panel) {
  typedef T Four __attribute__((vector_size(4 * sizeof(T))));
  for (int i = 0; i < kPanel; i += 4) {
    const T* from[4];
    for (int j = 0; j < 4; ++j) from[j] = i + j < rows ? token(i + j) : nullptr;
    Index c = 0;
    if (i + 4 <= rows)
      for (; c + 4 <= width; c += 4) {
        Four a, b, d, e;
        __builtin_memcpy(&a, from[0] + c, sizeof a);
        __builtin_memcpy(&b, from[1] + c, sizeof b);
        __builtin_memcpy(&d, from[2] + c, sizeof d);
        __builtin_memcpy(&e, from[3] + c, sizeof e);
        const Four ab0 = __builtin_shufflevector(a, b, 0, 4, 1, 5);
        const Four ab1 = __builtin_shufflevector(a, b, 2, 6, 3, 7);
        const Four de0 = __builtin_shufflevector(d, e, 0, 4, 1, 5);
        const Four de1 = __builtin_shufflevector(d, e, 2, 6, 3, 7);
        const Four out[4] = {__builtin_shufflevector(ab0, de0, 0, 1, 4, 5),
                             __builtin_shufflevector(ab0, de0, 2, 3, 6, 7),
                             __builtin_shufflevector(ab1, de1, 0, 1, 4, 5),
                             __builtin_shufflevector(ab1, de1, 2, 3, 6, 7)};
        for (int j = 0; j < 4; ++j)
          __builtin_memcpy(panel + (c + j) * kPanel + i, &out[j], sizeof out[j]);
      }
    for (; c < width; ++c)
      for (int j = 0; j < 4; ++j)
        panel[c * kPanel + i + j] = from[j] != nullptr ? from[j][c] : T{0};
  }
}

/// The reverse, for the first `rows` tokens: element c of token i goes to token(i)[c].
template <class T, class Token>
inline void panel_to_rows(const T* panel, Index rows, Index width, Token&& token) {
  typedef T Four __attribute__((vector_size(4 * sizeof(T))));
  for (int i = 0; i < rows; i += 4) {
    Index c = 0;
    if (i + 4 <= rows) {
      T* to[4];
      for (int j = 0; j < 4; ++j) to[j] = token(i + j);
      for (; c + 4 <= width; c += 4) {
        Four in[4];
        for (int j = 0; j < 4; ++j)
          __builtin_memcpy(&in[j], panel + (c + j) * kPanel + i, sizeof in[j]);
        const Four ab0 = __builtin_shufflevector(in[0], in[1], 0, 4, 1, 5);
        const Four ab1 = __builtin_shufflevector(in[0], in[1], 2, 6, 3, 7);
        const Four de0 = __builtin_shufflevector(in[2], in[3], 0, 4, 1, 5);
        const Four de1 = __builtin_shufflevector(in[2], in[3], 2, 6, 3, 7);
        const Four out[4] = {__builtin_shufflevector(ab0, de0, 0, 1, 4, 5),
                             __builtin_shufflevector(ab0, de0, 2, 3, 6, 7),
                             __builtin_shufflevector(ab1, de1, 0, 1, 4, 5),
                             __builtin_shufflevector(ab1, de1, 2, 3, 6, 7)};
        for (int j = 0; j < 4; ++j) __builtin_memcpy(to[j] + c, &out[j], sizeof out[j]);
      }
    }
    for (; c < width; ++c)
      for (int j = i; j < i + 4 && j < rows; ++j) token(j)[c] = panel[c * kPanel + j];
  }
}

}  // namespace moe::kernels::cpu::MOE_LEVEL
