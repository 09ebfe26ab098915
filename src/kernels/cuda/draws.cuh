#pragma once

#include "common.cuh"

// Counter-based draws on the device: the same numbers as moe/kernels/draws.h gives for the same
// stream, site, token and place. Shapes: N rows (tokens), W draws a row.

namespace moe::kernels::cuda {

/// Whose draws: key (1) names stream and update, site the layer and kind. The key is read from
/// device memory, so that a captured graph draws anew each time that it is replayed.
struct Draws {
  const Index* sequence;  // (N)
  const Index* position;  // (N)
  const Key* key;         // (1)
  Word site;
};

/// Words below the threshold drop, others scale.
struct Dropout {
  Draws draws;
  Word threshold;  // p of all 2^32 words
  double scale;    // 1 / (1 - p)
};

/// A counter, and its four draws.
struct Words {
  Word word[4];
};
constexpr double kWordStep = 1.0 / 4294967296.0;  // from word to word of [0, 1)

__device__ inline Index blocks_of(Index width) { return pieces(width, 4); }

/// Philox 4x32-10, as moe/base/random.h has it.
__device__ inline Words philox(Words counter, Key key) {
  Word k0 = static_cast<Word>(key), k1 = static_cast<Word>(key >> 32);
  Word* c = counter.word;
  for (int round = 0; round < 10; ++round) {
    const Key p0 = Key{0xD2511F53U} * c[0], p1 = Key{0xCD9E8D57U} * c[2];
    const Word c0 = static_cast<Word>(p1 >> 32) ^ c[1] ^ k0;
    const Word c2 = static_cast<Word>(p0 >> 32) ^ c[3] ^ k1;
    c[0] = c0;
    c[1] = static_cast<Word>(p1);
    c[2] = c2;
    c[3] = static_cast<Word>(p0);
    k0 += 0x9E3779B9U;
    k1 += 0xBB67AE85U;
  }
  return counter;
}

/// Draws 4 * block to 4 * block + 3 of a row.
__device__ inline Words draw_block(const Draws& draws, Index row, Index block) {
  return philox({{static_cast<Word>(block), static_cast<Word>(draws.position[row]),
                  static_cast<Word>(draws.sequence[row]), draws.site}},
                *draws.key);
}

/// What the four values of a block are multiplied by.
template <class T>
struct Factors {
  T factor[4];
};

template <class T>
__device__ inline Factors<T> dropout_factors(const Dropout& dropout, Index row, Index block) {
  const Words drawn = draw_block(dropout.draws, row, block);
  Factors<T> factors;
  for (int w = 0; w < 4; ++w)
    factors.factor[w] = drawn.word[w] >= dropout.threshold ? static_cast<T>(dropout.scale) : T{0};
  return factors;
}

/// Four standard normal draws (Box and Muller on word pairs), in double.
struct NormalBlock {
  double value[4];
};

__device__ inline NormalBlock normal_block(const Draws& draws, Index row, Index block) {
  const Words drawn = draw_block(draws, row, block);
  NormalBlock normals;
  for (int w = 0; w < 4; w += 2) {
    const double radius = sqrt(-2.0 * log((drawn.word[w] + 0.5) * kWordStep));
    double sine = 0, cosine = 0;
    sincospi(2 * ((drawn.word[w + 1] + 0.5) * kWordStep), &sine, &cosine);
    normals.value[w] = radius * cosine;
    normals.value[w + 1] = radius * sine;
  }
  return normals;
}

/// Calls use(row, block, first place of the block, values in it) for this thread's share of the
/// blocks of (N, W).
template <class Use>
__device__ inline void for_each_block(Index rows, Index width, const Use& use) {
  const Index blocks = blocks_of(width);
  for (Index i = grid_thread(); i < rows * blocks; i += grid_threads()) {
    const Index row = i / blocks, block = i % blocks, left = width - 4 * block;
    use(row, block, row * width + 4 * block, static_cast<int>(left < 4 ? left : 4));
  }
}

/// Calls use(w) for w in [0, count), count 4 at most. The loop has a fixed length, so that what it
/// indexes may stay in registers.
template <class Use>
__device__ inline void for_each_value(int count, const Use& use) {
  for (int w = 0; w < 4; ++w)
    if (w < count) use(w);
}

/// to (N, W): the words themselves. Any grid, any block. Twin: moe::kernels::words.
__global__ void draw_words(Draws draws, Index rows, Index width, Word* to) {
  for_each_block(rows, width, [&](Index row, Index block, Index first, int count) {
    const Words drawn = draw_block(draws, row, block);
    for_each_value(count, [&](int w) { to[first + w] = drawn.word[w]; });
  });
}

/// mask (N, W) of 0 and the scale. Any grid, any block. Twin: moe::kernels::dropout_mask.
template <class T>
__global__ void draw_mask(Dropout dropout, Index rows, Index width, T* mask) {
  for_each_block(rows, width, [&](Index row, Index block, Index first, int count) {
    const Factors<T> drawn = dropout_factors<T>(dropout, row, block);
    for_each_value(count, [&](int w) { mask[first + w] = drawn.factor[w]; });
  });
}

/// to (N, W) = from (N, W) times the mask, which is never written; from may be to. Backward is the
/// same. Any grid, any block. Twin: kernels/cpu/random.h, drop_rows.
template <class T>
__global__ void drop(Dropout dropout, Index rows, Index width, const T* from, T* to) {
  for_each_block(rows, width, [&](Index row, Index block, Index first, int count) {
    const Factors<T> drawn = dropout_factors<T>(dropout, row, block);
    for_each_value(count, [&](int w) { to[first + w] = from[first + w] * drawn.factor[w]; });
  });
}

/// to (N, W) = from (N, W) times factors from 1 - reach to 1 + reach; from may be to. Backward is
/// the same. Any grid, any block. Twin: kernels/cpu/route.h, jitter_panel.
template <class T>
__global__ void jitter(Draws draws, double reach, Index rows, Index width, const T* from, T* to) {
  for_each_block(rows, width, [&](Index row, Index block, Index first, int count) {
    const Words drawn = draw_block(draws, row, block);
    for_each_value(count, [&](int w) {
      const double factor = 1 + reach * (2 * (drawn.word[w] * kWordStep) - 1);
      to[first + w] = from[first + w] * static_cast<T>(factor);
    });
  });
}

/// to (N, W) of standard normal draws. Any grid, any block. Twin: moe::kernels::normal_draws.
template <class T>
__global__ void draw_normals(Draws draws, Index rows, Index width, T* to) {
  for_each_block(rows, width, [&](Index row, Index block, Index first, int count) {
    const NormalBlock drawn = normal_block(draws, row, block);
    for_each_value(count, [&](int w) { to[first + w] = static_cast<T>(drawn.value[w]); });
  });
}

}  // namespace moe::kernels::cuda
