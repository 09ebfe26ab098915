#pragma once

#include "attention.cuh"

// What queries, keys and values go through between the product that gives them and attention, after
// kernels/cpu/query_key.h and value_residual.h: an RMS norm of each head's queries and keys, a
// rotation of their pairs (i, i + D/2) by the token's position, and, of values, v = (1 - a) v + a
// v_first with those of the first block. Shapes as in attention.cuh. Both ways read the product's
// rows (N, 3C) and write others, so that backward finds what the norm read and the block's own
// values where the product left them.

namespace moe::kernels::cuda {

/// Null: there is no such step.
template <class T>
struct MeetStage {
  Index tokens;
  int time, heads, head_size;      // head_size is even where there are angles
  const T *query_gain, *key_gain;  // (D) of the norm
  double eps;
  const T* angles;  // (T, D): cosines of the D/2 pairs, then sines
  const T* lambda;  // (1) a, of device memory
  const T* first;   // (N, first_stride) values of the first block: its rows from the values on
  Index first_stride;
};

/// The two values of a head that a lane has: number lane and lane + ceil(D/2), 0 beyond D.
template <class T>
struct Pair {
  T a, b;
};
struct PairPlaces {
  int a, b;
  bool has_a, has_b;
  template <class T>
  __device__ Pair<T> load(const T* from) const {
    return {has_a ? from[a] : T{0}, has_b ? from[b] : T{0}};
  }
  template <class T>
  __device__ void store(const Pair<T>& pair, T* to) const {
    if (has_a) to[a] = pair.a;
    if (has_b) to[b] = pair.b;
  }
};
__device__ inline PairPlaces pair_places(int head_size) {
  const int lane = lane_number(), half = (head_size + 1) / 2;
  return {lane, lane + half, lane < half, lane < half && lane + half < head_size};
}

/// A head of a token as one warp works on it.
template <class T>
struct MeetHead {
  const MeetStage<T>& stage;
  Index token;
  int head;
  PairPlaces places = pair_places(stage.head_size);
  Index width = Index{stage.heads} * stage.head_size;  // C

  /// Of queries (0), keys (1) or values (2), in rows (N, 3C).
  __device__ Index at(int part) const {
    return token * 3 * width + part * width + head * stage.head_size;
  }
  __device__ const T* gain(int part) const { return part == 0 ? stage.query_gain : stage.key_gain; }
  /// By the token's angles, or back.
  __device__ Pair<T> rotated(const Pair<T>& x, bool back) const {
    if (stage.angles == nullptr) return x;
    const Pair<T> turn = places.load(stage.angles + token % stage.time * stage.head_size);
    const T sine = back ? -turn.b : turn.b;
    return {x.a * turn.a - x.b * sine, x.b * turn.a + x.a * sine};
  }
  __device__ T inverse_rms(const Pair<T>& x) const {
    const double squares = static_cast<double>(warp_sum(x.a * x.a + x.b * x.b));
    return T{1} / static_cast<T>(sqrt(squares / stage.head_size + stage.eps));
  }
  __device__ Pair<T> first_values() const {
    return places.load(stage.first + token * stage.first_stride + head * stage.head_size);
  }
};

/// to (N, 3C) from (N, 3C). Any grid; a block is whole warps, a warp a head of a token. Twin:
/// AttentionWindow::meet and mix_values.
template <class T>
__global__ void meet(MeetStage<T> stage, const T* from, T* to) {
  for (Index i = grid_warp(); i < stage.tokens * stage.heads; i += grid_warps()) {
    const MeetHead<T> head{stage, i / stage.heads, static_cast<int>(i % stage.heads)};
    for (int part = 0; part < 2; ++part) {
      Pair<T> x = head.places.load(from + head.at(part));
      if (head.gain(part) != nullptr) {
        const T inverse = head.inverse_rms(x);
        const Pair<T> gain = head.places.load(head.gain(part));
        x = {x.a * inverse * gain.a, x.b * inverse * gain.b};
      }
      head.places.store(head.rotated(x, /*back=*/false), to + head.at(part));
    }
    Pair<T> x = head.places.load(from + head.at(2));
    if (stage.lambda != nullptr) {
      const T a = *stage.lambda, rest = T{1} - a;
      const Pair<T> first = head.first_values();
      x = {rest * x.a + a * first.a, rest * x.b + a * first.b};
    }
    head.places.store(x, to + head.at(2));
  }
}

constexpr int kMeetTokens = 8;  // of one stretch, whose gradients of gains one block adds up
constexpr int kMeetThreads = 256, kMeetWarps = kMeetThreads / kWarp;

/// What backward hands back besides.
template <class T>
struct MeetGradients {
  T* d_first;     // (N, C) of the first block's values, the sum over the blocks behind; or null
  bool begins;    // that sum begins here
  bool takes;     // this is the first block: the sum joins its values' gradient
  double* parts;  // (ceil(N / kMeetTokens), 2D + 1) of the gains of query, of key, and of lambda
};

/// d of a query or key in place, from that of what meets to that of what the product gave. Returns
/// the part of the gain's gradient.
template <class T>
__device__ inline Pair<T> query_key_backward(const MeetHead<T>& head, int part, const T* from,
                                             T* d) {
  Pair<T> dy = head.rotated(head.places.load(d + head.at(part)), /*back=*/true);
  Pair<T> d_gain{T{0}, T{0}};
  if (head.gain(part) != nullptr) {
    const Pair<T> x = head.places.load(from + head.at(part));
    const Pair<T> gain = head.places.load(head.gain(part));
    const T inverse = head.inverse_rms(x);
    d_gain = {dy.a * (x.a * inverse), dy.b * (x.b * inverse)};
    const T mean =
        warp_sum(d_gain.a * gain.a + d_gain.b * gain.b) / static_cast<T>(head.stage.head_size);
    dy = {inverse * (dy.a * gain.a - x.a * inverse * mean),
          inverse * (dy.b * gain.b - x.b * inverse * mean)};
  }
  head.places.store(dy, d + head.at(part));
  return d_gain;
}

/// The same of a value. Returns this lane's part of lambda's gradient, in double: its terms nearly
/// cancel.
template <class T>
__device__ inline double value_backward(const MeetHead<T>& head, const MeetGradients<T>& gradients,
                                        const T* from, T* d) {
  const MeetStage<T>& stage = head.stage;
  const Index at_first = head.token * head.width + head.head * stage.head_size;
  Pair<T> g = head.places.load(d + head.at(2));
  if (gradients.takes) {
    const Pair<T> behind = head.places.load(gradients.d_first + at_first);
    g = {g.a + behind.a, g.b + behind.b};
  }
  double part = 0;
  if (stage.lambda != nullptr) {
    const T a = *stage.lambda, rest = T{1} - a;
    const Pair<T> own = head.places.load(from + head.at(2)), first = head.first_values();
    part = static_cast<double>(g.a * (first.a - own.a) + g.b * (first.b - own.b));
    Pair<T> sum{g.a * a, g.b * a};
    if (!gradients.begins) {
      const Pair<T> behind = head.places.load(gradients.d_first + at_first);
      sum = {sum.a + behind.a, sum.b + behind.b};
    }
    head.places.store(sum, gradients.d_first + at_first);
    g = {g.a * rest, g.b * rest};
  }
  head.places.store(g, d + head.at(2));
  return part;
}

/// d (N, 3C) in place, from the gradients of what meets to those of the product's rows `from`
/// (N, 3C); gradients.parts, which sum_stretches adds up. Grid: ceil(N / kMeetTokens); block:
/// kMeetThreads. Twin: AttentionWindow::meet_backward and mix_values_backward.
template <class T>
__global__ void meet_backward(MeetStage<T> stage, MeetGradients<T> gradients, const T* from, T* d) {
  __shared__ T gains[kMeetWarps][2][kMostHeadSize];
  const Index first = Index{blockIdx.x} * kMeetTokens;
  const int warp = static_cast<int>(threadIdx.x) / kWarp, size = stage.head_size;
  Pair<T> d_gain[2] = {};
  double d_lambda = 0;
  for (int i = warp; i < kMeetTokens * stage.heads; i += kMeetWarps) {
    const Index token = first + i / stage.heads;
    if (token >= stage.tokens) break;  // and so do the other lanes
    const MeetHead<T> head{stage, token, i % stage.heads};
    for (int part = 0; part < 2; ++part) {
      const Pair<T> more = query_key_backward(head, part, from, d);
      d_gain[part] = {d_gain[part].a + more.a, d_gain[part].b + more.b};
    }
    d_lambda += value_backward(head, gradients, from, d);
  }
  const PairPlaces places = pair_places(size);
  for (int part = 0; part < 2; ++part) places.store(d_gain[part], gains[warp][part]);
  d_lambda = block_sum(d_lambda);  // its barriers are those of the gains, too
  double* to = gradients.parts + Index{blockIdx.x} * (2 * size + 1);
  for (int i = static_cast<int>(threadIdx.x); i < 2 * size; i += kMeetThreads) {
    double sum = 0;
    for (int w = 0; w < kMeetWarps; ++w) sum += static_cast<double>(gains[w][i / size][i % size]);
    to[i] = sum;
  }
  if (threadIdx.x == 0) to[2 * size] = d_lambda;
}

}  // namespace moe::kernels::cuda
