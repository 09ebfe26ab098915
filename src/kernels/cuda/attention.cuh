#pragma once

#include "draws.cuh"

// Causal attention between the products of a layer, after kernels/cpu/heads.h: a block serves one
// head of one window. Meant for short windows: any time T is taken, but all queries of a head are
// one block's. Heads of more than kMostHeadSize values are refused by can_attend; libtorch's
// kernels serve them. Shapes: B windows of T tokens, N = B T, H heads of D values, C = H D.
//
// Queries go by kQueries and keys by kKeys at a time, which lie in shared memory. Softmax weights
// are never kept: backward computes them again from the logarithm of their sum.

namespace moe::kernels::cuda {

constexpr int kMostHeadSize = 64;
constexpr int kAttentionThreads = 256, kAttentionWarps = kAttentionThreads / kWarp;
constexpr int kKeys = kWarp;  // a lane each
/// What fits into the 48 KiB of a block.
template <class T>
constexpr int kQueries = sizeof(T) == sizeof(float) ? 16 : 8;
template <class T>
constexpr int kQueriesOfWarp = kQueries<T> / kAttentionWarps;

constexpr __host__ __device__ bool can_attend(int head_size) {
  return head_size >= 1 && head_size <= kMostHeadSize;
}

template <class T>
struct Attention {
  int time, heads, head_size;
  double score_scale;  // D^-0.5, or C^-0.5 as the original has it
  Dropout dropout;     // of softmax weights: key s of head h is draw h * 4 * blocks_of(T) + s
  bool drops;
  const T* qkv;  // (N, 3C) queries, keys, values as they meet (query_key.cuh)
};

/// Rows of a head; one value apart, so that lanes that read rows read other banks.
template <class T, int kRows>
struct HeadRows {
  T at[kRows][kMostHeadSize + 1];
};
/// A value of each query and key.
template <class T>
struct Meeting {
  T at[kQueries<T>][kKeys];
};

/// This block's head, and how its rows lie.
template <class T>
struct Head {
  const Attention<T>& layer;
  int head = static_cast<int>(blockIdx.x) % layer.heads;
  Index first_token = Index{blockIdx.x} / layer.heads * layer.time;
  Index width = Index{layer.heads} * layer.head_size;  // C

  /// Where a row of the first token is in rows of `stride` values, those of the head's part.
  __device__ Index place(Index stride, int part) const {
    return first_token * stride + part * width + head * layer.head_size;
  }
  __device__ const T* rows(int part) const { return layer.qkv + place(3 * width, part); }
};

/// Rows [first, first + kRows) of a head whose first one is `from`, 0 beyond the window.
template <class T, int kRows>
__device__ inline void load_rows(const Attention<T>& layer, const T* from, Index stride, int first,
                                 HeadRows<T, kRows>& to) {
  for (int i = static_cast<int>(threadIdx.x); i < kRows * layer.head_size; i += kAttentionThreads) {
    const int row = i / layer.head_size, d = i % layer.head_size;
    to.at[row][d] = first + row < layer.time ? from[(first + row) * stride + d] : T{0};
  }
}

/// kept: what dropout multiplies the weights of these queries and keys by, where a query sees them.
template <class T>
__device__ inline void draw_kept(const Head<T>& head, int first_query, int first_key,
                                 Meeting<T>& kept) {
  const Attention<T>& layer = head.layer;
  for (int i = static_cast<int>(threadIdx.x); i < kQueries<T> * kKeys / 4; i += kAttentionThreads) {
    const int q = i / (kKeys / 4), block = i % (kKeys / 4), query = first_query + q;
    Factors<T> factors{{T{1}, T{1}, T{1}, T{1}}};
    if (layer.drops && query < layer.time && first_key + 4 * block <= query)
      factors = dropout_factors<T>(layer.dropout, head.first_token + query,
                                   head.head * blocks_of(layer.time) + first_key / 4 + block);
    for (int w = 0; w < 4; ++w) kept.at[q][4 * block + w] = factors.factor[w];
  }
}

/// Calls use(j, row, d) for this thread's share of rows of D values: j is the number of the value
/// in the thread, below kShare.
template <int kShare, class Use>
__device__ inline void for_each_share(int rows, int head_size, const Use& use) {
  for (int j = 0; j < kShare; ++j) {
    const int i = static_cast<int>(threadIdx.x) + j * kAttentionThreads;
    if (i < rows * head_size) use(j, i / head_size, i % head_size);
  }
}
template <class T>
constexpr int kQueryShare = kQueries<T>* kMostHeadSize / kAttentionThreads;
constexpr int kKeyShare = kKeys * kMostHeadSize / kAttentionThreads;

/// The product of a row of a with one of b.
template <class T, int kA, int kB>
__device__ inline T dot(const HeadRows<T, kA>& a, int row, const HeadRows<T, kB>& b, int other,
                        int head_size) {
  T sum = 0;
  for (int d = 0; d < head_size; ++d) sum += a.at[row][d] * b.at[other][d];
  return sum;
}

/// Calls use(j, q) for the queries of this thread's warp; j is the number of one in the warp.
template <class T, class Use>
__device__ inline void for_each_query(const Use& use) {
  for (int j = 0; j < kQueriesOfWarp<T>; ++j)
    use(j, static_cast<int>(threadIdx.x) / kWarp + j * kAttentionWarps);
}

constexpr double kLowestScore = -3e38;  // of a float; below any score, and e^it is 0

/// Where the softmax of a warp's queries stands after the keys so far: the same in all lanes.
template <class T>
struct RunningSoftmax {
  T most[kQueriesOfWarp<T>], sum[kQueriesOfWarp<T>];
};

/// What one step of forward or backward works on, in shared memory.
template <class T>
struct AttentionTile {
  HeadRows<T, kQueries<T>> queries;
  HeadRows<T, kKeys> keys, values;
  Meeting<T> weights;
};

/// From scores of the next keys to weights, not yet over their sum, times what dropout leaves of
/// them. rescale (kQueries): what sums over earlier keys are to be multiplied by.
template <class T>
__device__ inline void weigh(const Attention<T>& layer, int first_query, int first_key,
                             AttentionTile<T>& tile, RunningSoftmax<T>& softmax, T* rescale) {
  const int k = lane_number();
  for_each_query<T>([&](int j, int q) {
    const bool sees = first_key + k <= first_query + q;
    const T score = sees ? dot(tile.queries, q, tile.keys, k, layer.head_size) *
                               static_cast<T>(layer.score_scale)
                         : static_cast<T>(kLowestScore);
    const T here = warp_max(score), before = softmax.most[j];
    const T most = before > here ? before : here;
    const T e = sees ? exp(score - most) : T{0};
    const T past = exp(before - most);
    softmax.most[j] = most;
    softmax.sum[j] = softmax.sum[j] * past + warp_sum(e);
    tile.weights.at[q][k] *= e;
    if (k == 0) rescale[q] = past;
  });
}

/// mixed (N, C): each head's values, weighed. log_sums (N, H): the logarithm of the sum of
/// e^score, which backward reads. Grid: B H; block: kAttentionThreads. Twin: AttentionHead::attend.
template <class T>
__global__ void attend(Attention<T> layer, T* mixed, T* log_sums) {
  __shared__ AttentionTile<T> tile;
  __shared__ T rescale[kQueries<T>];
  const Head<T> head{layer};
  const Index stride = 3 * head.width, mixed_at = head.place(head.width, 0);
  const int size = layer.head_size;
  for (int q0 = 0; q0 < layer.time; q0 += kQueries<T>) {
    RunningSoftmax<T> softmax;
    for_each_query<T>([&](int j, int) {
      softmax.most[j] = static_cast<T>(kLowestScore);
      softmax.sum[j] = 0;
    });
    T sums[kQueryShare<T>] = {};
    load_rows(layer, head.rows(0), stride, q0, tile.queries);
    for (int k0 = 0; k0 < q0 + kQueries<T>; k0 += kKeys) {
      load_rows(layer, head.rows(1), stride, k0, tile.keys);
      load_rows(layer, head.rows(2), stride, k0, tile.values);
      draw_kept(head, q0, k0, tile.weights);
      __syncthreads();
      weigh(layer, q0, k0, tile, softmax, rescale);
      __syncthreads();
      for_each_share<kQueryShare<T>>(kQueries<T>, size, [&](int j, int q, int d) {
        sums[j] *= rescale[q];
        for (int k = 0; k < kKeys; ++k) sums[j] += tile.weights.at[q][k] * tile.values.at[k][d];
      });
      __syncthreads();  // the tile may be written again
    }
    for_each_query<T>([&](int j, int q) {
      if (lane_number() != 0) return;
      rescale[q] = T{1} / softmax.sum[j];
      if (q0 + q < layer.time)
        log_sums[(head.first_token + q0 + q) * layer.heads + head.head] =
            softmax.most[j] + log(softmax.sum[j]);
    });
    __syncthreads();
    for_each_share<kQueryShare<T>>(kQueries<T>, size, [&](int j, int q, int d) {
      if (q0 + q < layer.time) mixed[mixed_at + (q0 + q) * head.width + d] = sums[j] * rescale[q];
    });
  }
}

/// What backward reads besides.
template <class T>
struct AttentionAnswers {
  const T *mixed, *log_sums, *d_mixed;  // (N, C), (N, H), (N, C)
};

/// tile.weights from what dropout leaves to the weights themselves, d_scores from nothing to the
/// gradients of the products of queries and keys.
template <class T>
__device__ inline void score_gradients(const Head<T>& head, const AttentionAnswers<T>& answers,
                                       int first_query, int first_key,
                                       const HeadRows<T, kQueries<T>>& d_rows,
                                       AttentionTile<T>& tile, Meeting<T>& d_scores) {
  const Attention<T>& layer = head.layer;
  const T scale = static_cast<T>(layer.score_scale);
  const int k = lane_number(), size = layer.head_size;
  for_each_query<T>([&](int, int q) {
    const int query = first_query + q;
    const bool is_there = query < layer.time;
    const T* mixed = answers.mixed + head.place(head.width, 0) + query * head.width;
    T along = 0;  // the sum over all keys of weight times its gradient
    for (int d = k; d < size && is_there; d += kWarp) along += mixed[d] * d_rows.at[q][d];
    along = warp_sum(along);
    T weight = 0, d_score = 0;
    if (is_there && first_key + k <= query) {
      const T score = dot(tile.queries, q, tile.keys, k, size) * scale;
      const T kept = tile.weights.at[q][k];
      weight = exp(score - answers.log_sums[(head.first_token + query) * layer.heads + head.head]);
      d_score = weight * (dot(d_rows, q, tile.values, k, size) * kept - along) * scale;
      weight *= kept;
    }
    tile.weights.at[q][k] = weight;
    d_scores.at[q][k] = d_score;
  });
}

/// d_qkv (N, 3C) from d_mixed. A key's and a value's gradient are summed over queries by one
/// thread; a query's, over keys, by the thread that has the same place in each of their tiles.
/// Grid: B H; block: kAttentionThreads. Twin: AttentionHead::backward.
template <class T>
__global__ void attend_backward(Attention<T> layer, AttentionAnswers<T> answers, T* d_qkv) {
  __shared__ AttentionTile<T> tile;
  __shared__ HeadRows<T, kQueries<T>> d_rows;
  __shared__ Meeting<T> d_scores;
  const Head<T> head{layer};
  const Index stride = 3 * head.width;
  const T* d_mixed = answers.d_mixed + head.place(head.width, 0);
  T* d_queries = d_qkv + head.place(stride, 0);
  const int size = layer.head_size;
  for (int k0 = 0; k0 < layer.time; k0 += kKeys) {
    T d_keys[kKeyShare] = {}, d_values[kKeyShare] = {};
    load_rows(layer, head.rows(1), stride, k0, tile.keys);
    load_rows(layer, head.rows(2), stride, k0, tile.values);
    for (int q0 = k0; q0 < layer.time; q0 += kQueries<T>) {
      load_rows(layer, head.rows(0), stride, q0, tile.queries);
      load_rows(layer, d_mixed, head.width, q0, d_rows);
      draw_kept(head, q0, k0, tile.weights);
      __syncthreads();
      score_gradients(head, answers, q0, k0, d_rows, tile, d_scores);
      __syncthreads();
      for_each_share<kQueryShare<T>>(kQueries<T>, size, [&](int, int q, int d) {
        if (q0 + q >= layer.time) return;
        T* to = d_queries + (q0 + q) * stride + d;
        T sum = k0 == 0 ? T{0} : *to;
        for (int k = 0; k < kKeys; ++k) sum += d_scores.at[q][k] * tile.keys.at[k][d];
        *to = sum;
      });
      for_each_share<kKeyShare>(kKeys, size, [&](int j, int k, int d) {
        for (int q = 0; q < kQueries<T>; ++q) {
          d_keys[j] += d_scores.at[q][k] * tile.queries.at[q][d];
          d_values[j] += tile.weights.at[q][k] * d_rows.at[q][d];
        }
      });
      __syncthreads();  // the tile may be written again
    }
    for_each_share<kKeyShare>(kKeys, size, [&](int j, int k, int d) {
      if (k0 + k >= layer.time) return;
      T* to = d_queries + (k0 + k) * stride + d;
      to[head.width] = d_keys[j];
      to[2 * head.width] = d_values[j];
    });
  }
}

}  // namespace moe::kernels::cuda
