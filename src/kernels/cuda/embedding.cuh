#pragma once

#include "draws.cuh"

// Rows of tables by number: embeddings of tokens and positions, rows of n-gram tables. Shapes: N
// tokens of C values, V rows of a table, windows of T tokens.
//
// A table's gradient is a sum over the tokens of each row, in an order of its own, without atomics:
// stretches of kRowStretch tokens are sorted each by itself, the tokens of a row in a stretch are
// added up, and the first of a row's stretches that it occurs in adds the others. So the cost is
// that of the tokens and their stretches, whatever V is.

namespace moe::kernels::cuda {

/// out (N, C) = the token's row, plus that of its position, after dropout. Positions begin with
/// `first` at the beginning of each window.
template <class T>
struct Embedding {
  Index tokens, width, time, first;
  const Index* ids;    // (N)
  const T* rows;       // (V, C)
  const T* positions;  // (positions, C), null: none
  Dropout dropout;
  bool drops;
};

/// out (N, C). Any grid, any block. Twin: EmbeddingCall::forward.
template <class T>
__global__ void embed(Embedding<T> of, T* out) {
  for_each_block(of.tokens, of.width, [&](Index n, Index block, Index first, int count) {
    Factors<T> kept{{T{1}, T{1}, T{1}, T{1}}};
    if (of.drops) kept = dropout_factors<T>(of.dropout, n, block);
    const T* row = of.rows + of.ids[n] * of.width + 4 * block;
    const T* position = of.positions == nullptr
                            ? nullptr
                            : of.positions + (of.first + n % of.time) * of.width + 4 * block;
    for_each_value(count, [&](int w) {
      const T sum = position == nullptr ? row[w] : row[w] + position[w];
      out[first + w] = sum * kept.factor[w];
    });
  });
}

/// d_positions (positions, C), its rows from `first` on: += the sum over windows. d_out (N, C) is
/// what dropout left (drop). Any grid, any block. Twin: EmbeddingCall::backward.
template <class T>
__global__ void position_gradients(const T* d_out, Index tokens, Index width, Index time,
                                   Index first, T* d_positions) {
  for (Index i = grid_thread(); i < time * width; i += grid_threads()) {
    T sum = d_positions[first * width + i];
    for (Index n = 0; n < tokens / time; ++n) sum += d_out[n * time * width + i];
    d_positions[first * width + i] = sum;
  }
}

constexpr int kRowStretch = 256;  // tokens
constexpr Word kNoRow = 0xFFFFFFFFU;

/// A token that is sorted: its row in the upper half, its own number in the lower one.
__device__ inline Word row_of(Key sorted) { return static_cast<Word>(sorted >> 32); }
__device__ inline Index token_of(Key sorted) { return static_cast<Index>(sorted & 0xFFFFFFFFU); }

/// sorted (N): each stretch's tokens by their rows (N), those of a row in their order, and last
/// those without a row, whose number is negative. Grid: ceil(N / kRowStretch); block: kRowStretch.
__global__ void sort_rows(const Index* rows, Index tokens, Key* sorted) {
  __shared__ Key keys[kRowStretch];
  const Index n = grid_thread(), first = Index{blockIdx.x} * kRowStretch;
  const Word row = n < tokens && rows[n] >= 0 ? static_cast<Word>(rows[n]) : kNoRow;
  const Key mine = Key{row} << 32 | static_cast<Key>(n);
  keys[threadIdx.x] = mine;
  __syncthreads();
  int rank = 0;
  for (int i = 0; i < kRowStretch; ++i) rank += keys[i] < mine;
  if (n < tokens) sorted[first + rank] = mine;
}

/// Sorted tokens, and who is next to whom.
struct SortedRows {
  const Key* sorted;  // (N) of sort_rows
  Index tokens;

  __device__ Index end_of_stretch(Index place) const {
    const Index end = (place / kRowStretch + 1) * kRowStretch;
    return end < tokens ? end : tokens;
  }
  /// Whether the row at a place is the first of its kind in the stretch.
  __device__ bool begins(Index place) const {
    const Word row = row_of(sorted[place]);
    return row != kNoRow && (place % kRowStretch == 0 || row_of(sorted[place - 1]) != row);
  }
  /// The first place of a row in the stretch that begins at `first`, or -1.
  __device__ Index find(Word row, Index first) const {
    const Index end = end_of_stretch(first);
    Index low = first, high = end;
    while (low < high) {
      const Index middle = (low + high) / 2;
      if (row_of(sorted[middle]) < row)
        low = middle + 1;
      else
        high = middle;
    }
    return low < end && row_of(sorted[low]) == row ? low : -1;
  }
};

/// parts (N, C): where a row begins in a stretch, the sum of d_out (N, C) over its tokens there;
/// other places are not written. Any grid; a block is whole warps, a warp 32 values of a place.
template <class T>
__global__ void row_gradient_parts(SortedRows rows, Index width, const T* d_out, T* parts) {
  const Index chunks = pieces(width, kWarp);
  for (Index i = grid_warp(); i < rows.tokens * chunks; i += grid_warps()) {
    const Index place = i / chunks, c = i % chunks * kWarp + lane_number();
    if (c >= width || !rows.begins(place)) continue;
    const Word row = row_of(rows.sorted[place]);
    const Index end = rows.end_of_stretch(place);
    T sum = 0;
    for (Index at = place; at < end && row_of(rows.sorted[at]) == row; ++at)
      sum += d_out[token_of(rows.sorted[at]) * width + c];
    parts[place * width + c] = sum;
  }
}

/// d_rows (V, C) += the parts, each row's in the order of the stretches. Rows that no token has are
/// left as they are. Any grid; a block is whole warps, a warp 32 values of a place. Twin:
/// EmbeddingCall::backward, sum_rows_backward.
template <class T>
__global__ void sum_row_gradients(SortedRows rows, Index width, const T* parts, T* d_rows) {
  const Index chunks = pieces(width, kWarp);
  for (Index i = grid_warp(); i < rows.tokens * chunks; i += grid_warps()) {
    const Index place = i / chunks, c = i % chunks * kWarp + lane_number();
    if (!rows.begins(place)) continue;
    const Word row = row_of(rows.sorted[place]);
    bool is_earlier = false;
    const Index mine = place / kRowStretch * kRowStretch;
    for (Index first = 0; first < mine && !is_earlier; first += kRowStretch)
      is_earlier = rows.find(row, first) >= 0;
    if (is_earlier || c >= width) continue;
    T sum = d_rows[row * width + c] + parts[place * width + c];
    for (Index first = mine + kRowStretch; first < rows.tokens; first += kRowStretch) {
      const Index at = rows.find(row, first);
      if (at >= 0) sum += parts[at * width + c];
    }
    d_rows[row * width + c] = sum;
  }
}

}  // namespace moe::kernels::cuda
