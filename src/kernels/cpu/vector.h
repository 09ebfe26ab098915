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
/// Sum of the lanes, by halves.
template <class T>
[[gnu::always_inline]] inline T sum_of(Vec<T> v) {
  T lanes[kLanes<T>];
  store(lanes, v);
#pragma GCC unroll 4
  for (int half = kLanes<T> / 2; half > 0; half /= 2)
#pragma GCC unroll 8
    for (int i = 0; i < half; ++i) lanes[i] += lanes[i + half];
  return lanes[0];
}

#if MOE_VECTOR_BYTES == 64 && defined(__AVX512F__)
/// v[j][i] becomes v[i][j].
[[gnu::always_inline]] inline void transpose(__m512 (&v)[kPanel]) {
  __m512 w[kPanel];
#pragma GCC unroll 8
  for (int i = 0; i < kPanel; i += 2) {
    w[i] = _mm512_unpacklo_ps(v[i], v[i + 1]);
    w[i + 1] = _mm512_unpackhi_ps(v[i], v[i + 1]);
  }
#pragma GCC unroll 4
  for (int i = 0; i < kPanel; i += 4)
#pragma GCC unroll 2
    for (int half = 0; half < 2; ++half) {
      const __m512d a = _mm512_castps_pd(w[i + half]), b = _mm512_castps_pd(w[i + 2 + half]);
      v[i + 2 * half] = _mm512_castpd_ps(_mm512_unpacklo_pd(a, b));
      v[i + 2 * half + 1] = _mm512_castpd_ps(_mm512_unpackhi_pd(a, b));
    }
    // v[4g + j], 128-bit lane l: feature 4l + j of tokens 4g to 4g + 3. Left: a transpose of lanes.
#pragma GCC unroll 4
  for (int j = 0; j < 4; ++j) {
    const __m512 low01 = _mm512_shuffle_f32x4(v[j], v[4 + j], 0x44);
    const __m512 high01 = _mm512_shuffle_f32x4(v[j], v[4 + j], 0xEE);
    const __m512 low23 = _mm512_shuffle_f32x4(v[8 + j], v[12 + j], 0x44);
    const __m512 high23 = _mm512_shuffle_f32x4(v[8 + j], v[12 + j], 0xEE);
    w[j] = _mm512_shuffle_f32x4(low01, low23, 0x88);
    w[4 + j] = _mm512_shuffle_f32x4(low01, low23, 0xDD);
    w[8 + j] = _mm512_shuffle_f32x4(high01, high23, 0x88);
    w[12 + j] = _mm512_shuffle_f32x4(high01, high23, 0xDD);
  }
#pragma GCC unroll 16
  for (int i = 0; i < kPanel; ++i) v[i] = w[i];
}

/// Whole blocks of kPanel features, as far as they go: how many features that is.
template <class Token>
inline Index blocks_to_panel(Index rows, Index width, Token&& token, float* panel) {
  Index c = 0;
  for (; c + kPanel <= width; c += kPanel) {
    __m512 v[kPanel];
#pragma GCC unroll 16
    for (int i = 0; i < kPanel; ++i)
      v[i] = i < rows ? _mm512_loadu_ps(token(i) + c) : _mm512_setzero_ps();
    transpose(v);
#pragma GCC unroll 16
    for (int i = 0; i < kPanel; ++i) _mm512_storeu_ps(panel + (c + i) * kPanel, v[i]);
  }
  return c;
}
template <class Token>
inline Index panel_to_blocks(const float* panel, Index rows, Index width, Token&& token) {
  Index c = 0;
  for (; c + kPanel <= width; c += kPanel) {
    __m512 v[kPanel];
#pragma GCC unroll 16
    for (int i = 0; i < kPanel; ++i) v[i] = _mm512_loadu_ps(panel + (c + i) * kPanel);
    transpose(v);
    for (Index i = 0; i < rows; ++i) _mm512_storeu_ps(token(i) + c, v[i]);
  }
  return c;
}
#endif

/// Rows of kPanel tokens, each `stride` apart, into the panel (width, kPanel); `rows` tokens are
/// there, the others become 0. `token(i)` is where token i begins.
template <class T, class Token>
inline void rows_to_panel(Index rows, Index width, Token&& token, T* panel) {
  typedef T Four __attribute__((vector_size(4 * sizeof(T))));
  Index first = 0;
#if MOE_VECTOR_BYTES == 64 && defined(__AVX512F__)
  if constexpr (sizeof(T) == 4) first = blocks_to_panel(rows, width, token, panel);
#endif
  for (int i = 0; i < kPanel; i += 4) {
    const T* from[4];
    for (int j = 0; j < 4; ++j) from[j] = i + j < rows ? token(i + j) : nullptr;
    Index c = first;
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
  Index first = 0;
#if MOE_VECTOR_BYTES == 64 && defined(__AVX512F__)
  if constexpr (sizeof(T) == 4) first = panel_to_blocks(panel, rows, width, token);
#endif
  for (int i = 0; i < rows; i += 4) {
    Index c = first;
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
