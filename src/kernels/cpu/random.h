#pragma once

#include "kernels/cpu/elementary.h"

namespace moe::kernels::cpu::MOE_LEVEL {

using U32 = VectorOf<std::uint32_t>::Type;
using U64 = VectorOf<std::uint64_t>::Type;
inline constexpr int kWordVecs = kVecs<float>;

/// The low halves of the 64-bit lanes times `b`: the upper halves may hold anything.
[[gnu::always_inline]] inline U64 multiply_low(U64 a, std::uint32_t b) {
  const U64 factor = U64{} + b;
#if MOE_VECTOR_BYTES == 64 && defined(__AVX512F__)
  return (U64)_mm512_mul_epu32((__m512i)a, (__m512i)factor);
#elif MOE_VECTOR_BYTES == 32 && defined(__AVX2__)
  return (U64)_mm256_mul_epu32((__m256i)a, (__m256i)factor);
#elif MOE_VECTOR_BYTES == 16 && defined(__SSE2__)
  return (U64)_mm_mul_epu32((__m128i)a, (__m128i)factor);
#else
  return (a & 0xFFFFFFFFU) * factor;
#endif
}

/// Counters and draws of kPanel tokens. Philox works on 64-bit lanes whose upper halves are never
/// read: even and odd tokens apart.
struct TokenLanes {
  U64 sequence[2][kWordVecs], position[2][kWordVecs], block[2][kWordVecs];
};

/// What one lane draws for: a token, and the block of words that it counts from.
struct LaneKey {
  Index token, block = 0;
};

/// Lane i draws for `lane(i)`.
template <class Lane>
inline TokenLanes token_lanes(const TokenKeys& keys, Lane&& lane) {
  std::uint32_t sequence[kPanel], position[kPanel], block[kPanel];
  for (int i = 0; i < kPanel; ++i) {
    const LaneKey key = lane(i);
    sequence[i] = static_cast<std::uint32_t>(keys.sequence[key.token]);
    position[i] = static_cast<std::uint32_t>(keys.position[key.token]);
    block[i] = static_cast<std::uint32_t>(key.block);
  }
  TokenLanes lanes;
  __builtin_memcpy(lanes.sequence[0], sequence, sizeof sequence);
  __builtin_memcpy(lanes.position[0], position, sizeof position);
  __builtin_memcpy(lanes.block[0], block, sizeof block);
  for (int v = 0; v < kWordVecs; ++v) {
    lanes.sequence[1][v] = lanes.sequence[0][v] >> 32;
    lanes.position[1][v] = lanes.position[0][v] >> 32;
    lanes.block[1][v] = lanes.block[0][v] >> 32;
  }
  return lanes;
}

/// Words 4 * block to 4 * block + 3 of every token.
struct Words {
  U32 v[4][kWordVecs];
};

[[gnu::always_inline]] inline Words philox(const TokenLanes& lanes, std::uint32_t block,
                                           std::uint32_t site, std::uint64_t key) {
  Words words;
#pragma GCC unroll 4
  for (int v = 0; v < kWordVecs; ++v) {
    U64 halves[2][4];
#pragma GCC unroll 2
    for (int half = 0; half < 2; ++half) {
      U64 c0 = lanes.block[half][v] + block, c1 = lanes.position[half][v],
          c2 = lanes.sequence[half][v];
      U64 c3 = U64{} + site;
      auto k0 = static_cast<std::uint32_t>(key), k1 = static_cast<std::uint32_t>(key >> 32U);
#pragma GCC unroll 10
      for (int round = 0; round < 10; ++round) {
        const U64 p0 = multiply_low(c0, 0xD2511F53U), p1 = multiply_low(c2, 0xCD9E8D57U);
        c0 = (p1 >> 32) ^ c1 ^ (U64{} + k0);
        c2 = (p0 >> 32) ^ c3 ^ (U64{} + k1);
        c1 = p1;
        c3 = p0;
        k0 += 0x9E3779B9U;
        k1 += 0xBB67AE85U;
      }
      halves[half][0] = c0;
      halves[half][1] = c1;
      halves[half][2] = c2;
      halves[half][3] = c3;
    }
#pragma GCC unroll 4
    for (int w = 0; w < 4; ++w)
      words.v[w][v] = (U32)((halves[0][w] & 0xFFFFFFFFU) | (halves[1][w] << 32));
  }
  return words;
}

/// 0 or the scale, for words 4 * block + w, w < 4, of every token: factors[w].
[[gnu::always_inline]] inline void dropout_factors(const Dropout& dropout, const TokenLanes& lanes,
                                                   Index block, Row<float>* factors) {
  using Int = VectorOf<std::int32_t>::Type;
  const Words words = philox(lanes, static_cast<std::uint32_t>(block), dropout.site, dropout.key);
  const Vec<float> scale = Vec<float>{} + static_cast<float>(dropout.scale);
#pragma GCC unroll 4
  for (int w = 0; w < 4; ++w)
#pragma GCC unroll 4
    for (int v = 0; v < kWordVecs; ++v) {
      const Int keep = words.v[w][v] >= dropout.threshold;
      factors[w].v[v] = (Vec<float>)((Int)scale & keep);
    }
}
[[gnu::always_inline]] inline void dropout_factors(const Dropout& dropout, const TokenLanes& lanes,
                                                   Index block, Row<double>* factors) {
  const Words words = philox(lanes, static_cast<std::uint32_t>(block), dropout.site, dropout.key);
  for (int w = 0; w < 4; ++w) {
    std::uint32_t drawn[kPanel];
    double values[kPanel];
    __builtin_memcpy(drawn, words.v[w], sizeof drawn);
    for (int i = 0; i < kPanel; ++i) values[i] = drawn[i] >= dropout.threshold ? dropout.scale : 0;
    factors[w] = load_row(values);
  }
}

/// panel (width, kPanel) *= factors of words 4 * first_block to 4 * first_block + width - 1.
template <class T>
inline void drop_panel(const Dropout& dropout, const TokenLanes& lanes, Index first_block,
                       Index width, T* panel) {
  Row<T> factors[4];
  for (Index c = 0; c < width; c += 4) {
    dropout_factors(dropout, lanes, first_block + c / 4, factors);
    for (Index w = 0; w < 4 && c + w < width; ++w) {
      T* row = panel + (c + w) * kPanel;
      store_row(row, map(load_row(row), factors[w], [](Vec<T> a, Vec<T> b) { return a * b; }));
    }
  }
}

/// rows (count, width) of tokens [first, first + count), kPanel at most, *= their factors. scratch:
/// (width, kPanel).
template <class T>
void drop_rows(const Dropout& dropout, const TokenKeys& keys, Index first, Index count, Index width,
               T* rows, T* scratch) {
  const TokenLanes lanes =
      token_lanes(keys, [&](int i) { return LaneKey{first + (i < count ? i : count - 1)}; });
  rows_to_panel<T>(
      count, width, [&](Index i) { return rows + i * width; }, scratch);
  drop_panel(dropout, lanes, 0, width, scratch);
  panel_to_rows<T>(scratch, count, width, [&](Index i) { return rows + i * width; });
}

/// A uniform draw in (0, 1) of each word: its middle, so that it is never 0.
[[gnu::always_inline]] inline Vec<double> uniforms(const std::uint32_t* words) {
  Vec<double> u;
  for (int i = 0; i < kLanes<double>; ++i) u[i] = static_cast<double>(words[i]);
  return (u + 0.5) * 0x1p-32;
}

/// Standard normal draws 4 * block to 4 * block + 3 of every token (Box and Muller on word pairs,
/// computed in double whatever T is): values (4, kPanel).
template <class T>
inline void normal_block(const Normals& normals, const TokenLanes& lanes, Index block, T* values) {
  const Words words = philox(lanes, static_cast<std::uint32_t>(block), normals.site, normals.key);
  std::uint32_t drawn[4][kPanel];
  for (int w = 0; w < 4; ++w) __builtin_memcpy(drawn[w], words.v[w], sizeof drawn[w]);
  for (int pair = 0; pair < 4; pair += 2)
    for (int i = 0; i < kPanel; i += kLanes<double>) {
      Vec<double> squared = -2.0 * logarithm(uniforms(drawn[pair] + i));
      for (int l = 0; l < kLanes<double>; ++l) squared[l] = __builtin_sqrt(squared[l]);
      const SineCosine turn = turn_sine_cosine(uniforms(drawn[pair + 1] + i));
      const Vec<double> first = squared * turn.cosine, second = squared * turn.sine;
      for (int l = 0; l < kLanes<double>; ++l) {
        values[pair * kPanel + i + l] = static_cast<T>(first[l]);
        values[(pair + 1) * kPanel + i + l] = static_cast<T>(second[l]);
      }
    }
}

/// Rows of tokens [0, tokens), `width` draws each.
template <class T>
void normal_rows(const Normals& normals, const TokenKeys& keys, Index tokens, Index width,
                 T* rows) {
  T block_values[4 * kPanel];
  for (Index first = 0; first < tokens; first += kPanel) {
    const Index count = tokens - first < kPanel ? tokens - first : kPanel;
    const TokenLanes lanes =
        token_lanes(keys, [&](int i) { return LaneKey{first + (i < count ? i : count - 1)}; });
    for (Index w = 0; w < width; w += 4) {
      normal_block(normals, lanes, w / 4, block_values);
      for (Index i = 0; i < count; ++i)
        for (Index j = 0; j < 4 && w + j < width; ++j)
          rows[(first + i) * width + w + j] = block_values[j * kPanel + i];
    }
  }
}

}  // namespace moe::kernels::cpu::MOE_LEVEL
