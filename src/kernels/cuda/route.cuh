#pragma once

#include "activation.cuh"
#include "draws.cuh"

// From a router's logits to experts and their gates, and back, after kernels/cpu/route.h and
// gates.h. A warp serves a token. Shapes: N tokens, E experts (kWarp^2 = 1024 at most), K choices,
// M slots of a token, of which the first K are its choices.

namespace moe::kernels::cuda {

/// In the order of moe::Gate.
enum class Gate { topk_softmax, softmax_topk, sigmoid };

template <class T>
struct Router {
  Index tokens;
  int experts, top_k, token_slots;
  Gate gate;
  bool gate_norm;        // sigmoid: gates over their sum
  double gate_scale;     // sigmoid: then times this
  const T* choice_bias;  // (E) added to the scores for the choice alone; null: none
  const T* logits;       // (N, E) that the choice is made by
};

/// Softplus and its slope, as PyTorch has them: straight above 20.
template <class T>
__device__ inline T softplus(T x) {
  return x > T{20} ? x : (x > 0 ? x : T{0}) + log1p(exp(x > 0 ? -x : x));
}
template <class T>
__device__ inline T softplus_slope(T x) {
  return x > T{20} ? T{1} : Silu::sigmoid(x);
}

/// logits (N, E) = clean (N, E), which they may be, + draw * softplus(scale), and slope (N, E) =
/// the draw times that of softplus, where the noise's scale (N, E) is what a Linear yields. Any
/// grid, any block. Twin: add_noise.
template <class T>
__global__ void add_noise(Draws draws, Index tokens, Index experts, const T* scale, const T* clean,
                          T* logits, T* slope) {
  for_each_block(tokens, experts, [&](Index n, Index block, Index first, int count) {
    const NormalBlock normals = normal_block(draws, n, block);
    for_each_value(count, [&](int w) {
      const T raw = scale[first + w], draw = static_cast<T>(normals.value[w]);
      logits[first + w] = clean[first + w] + draw * softplus(raw);
      slope[first + w] = draw * softplus_slope(raw);
    });
  });
}

/// The largest logit of a token, and the sum of e^(logit - largest): what its softmax needs.
template <class T>
struct Normaliser {
  T most, sum;
  __device__ T share(T value) const { return exp(value - most) / sum; }
};

/// Over value(i), i in [0, count).
template <class T, class Value>
__device__ inline Normaliser<T> softmax_over(int count, const Value& value) {
  T most = value(0), sum = 0;
  for (int i = lane_number(); i < count; i += kWarp) most = value(i) > most ? value(i) : most;
  most = warp_max(most);
  for (int i = lane_number(); i < count; i += kWarp) sum += exp(value(i) - most);
  return {most, warp_sum(sum)};
}

template <class T>
__device__ inline T log_sigmoid(T x) {
  return (x < 0 ? x : T{0}) - log1p(exp(x < 0 ? x : -x));
}

/// What experts are chosen by: the logit, or beside a bias the score plus it. An expert whose logit
/// is minus infinity is masked, whatever its bias.
template <class T>
__device__ inline T choice_value(const Router<T>& router, const Normaliser<T>& all, T logit,
                                 int expert) {
  if (router.choice_bias == nullptr || (logit < 0 && logit + logit == logit)) return logit;
  const T score = router.gate == Gate::sigmoid ? Silu::sigmoid(logit) : all.share(logit);
  return score + router.choice_bias[expert];
}

/// An expert and what it is chosen by; expert -1: none.
template <class T>
struct Candidate {
  T value;
  int expert;
  /// Of equal values the first expert wins. NaN loses to any number, so that it is chosen only if
  /// nothing else is left: the loss shows what went wrong.
  __device__ bool loses_to(const Candidate& other) const {
    if (expert < 0 || other.expert < 0) return expert < 0 && other.expert >= 0;
    const bool is_number = value == value, other_is_number = other.value == other.value;
    if (is_number != other_is_number) return other_is_number;
    if (is_number && value != other.value) return value < other.value;
    return other.expert < expert;
  }
};

template <class T>
__device__ inline Candidate<T> best_of_warp(Candidate<T> mine) {
  for (int step = kWarp / 2; step > 0; step /= 2) {
    const Candidate<T> other{__shfl_xor_sync(kAllLanes, mine.value, step),
                             __shfl_xor_sync(kAllLanes, mine.expert, step)};
    if (mine.loses_to(other)) mine = other;
  }
  return mine;
}

/// chosen (N, M): the K experts of the largest choice values, the largest first. Any grid; a block
/// is whole warps. Twin: choice_values and choose.
template <class T>
__global__ void choose_experts(Router<T> router, int* chosen) {
  for (Index n = grid_warp(); n < router.tokens; n += grid_warps()) {
    const T* logits = router.logits + n * router.experts;
    const Normaliser<T> all = softmax_over<T>(router.experts, [&](int e) { return logits[e]; });
    Word taken = 0;  // bit i: this lane's expert of number i
    for (int k = 0; k < router.top_k; ++k) {
      Candidate<T> mine{T{0}, -1};
      for (int e = lane_number(), i = 0; e < router.experts; e += kWarp, ++i) {
        if ((taken >> i & 1U) != 0) continue;
        const Candidate<T> other{choice_value(router, all, logits[e], e), e};
        if (mine.loses_to(other)) mine = other;
      }
      const int best = best_of_warp(mine).expert;
      if (best % kWarp == lane_number()) taken |= Word{1} << (best / kWarp);
      if (lane_number() == 0) chosen[n * router.token_slots + k] = best;
    }
  }
}

/// chosen (N, M): the experts of each token's symbol, from hashed (V, K). Any grid, any block.
/// Twin: choose_experts of the CPU, where there is a hash.
__global__ void hashed_experts(const Index* symbols, const int* hashed, Index tokens, int top_k,
                               int token_slots, int* chosen) {
  for (Index i = grid_thread(); i < tokens * top_k; i += grid_threads())
    chosen[i / top_k * token_slots + i % top_k] = hashed[symbols[i / top_k] * top_k + i % top_k];
}

/// The last slots of each token, which nothing is chosen for: shared experts, from number `experts`
/// on, with the token's gate (N), or 1 if that is null. chosen (N, M), gates (N, M). Any grid, any
/// block. Twin: kernels/cpu/shared_experts.h, fill_shared_slots.
template <class T>
__global__ void fill_shared_slots(Index tokens, int experts, int top_k, int token_slots,
                                  const T* gate, int* chosen, T* gates) {
  const int shared = token_slots - top_k;
  for (Index i = grid_thread(); i < tokens * shared; i += grid_threads()) {
    const Index n = i / shared, s = i % shared, slot = n * token_slots + top_k + s;
    chosen[slot] = experts + static_cast<int>(s);
    gates[slot] = gate == nullptr ? T{1} : gate[n];
  }
}

/// The gates of one token (K), all lanes together.
template <class T>
__device__ inline void gates_of_token(const Router<T>& router, const T* logits, const int* chosen,
                                      T* gates) {
  const bool is_sigmoid = router.gate == Gate::sigmoid;
  const T scale = is_sigmoid ? static_cast<T>(router.gate_scale) : T{1};
  if (is_sigmoid && !router.gate_norm) {
    for (int k = lane_number(); k < router.top_k; k += kWarp)
      gates[k] = scale * Silu::sigmoid(logits[chosen[k]]);
    return;
  }
  // Sigmoids over their sum are the softmax of their logarithms: far from 0 they are 0 or equal.
  const auto argument = [&](int k) {
    return is_sigmoid ? log_sigmoid(logits[chosen[k]]) : logits[chosen[k]];
  };
  const Normaliser<T> sums = router.gate == Gate::softmax_topk
                                 ? softmax_over<T>(router.experts, [&](int e) { return logits[e]; })
                                 : softmax_over<T>(router.top_k, argument);
  for (int k = lane_number(); k < router.top_k; k += kWarp)
    gates[k] = scale * sums.share(argument(k));
}

/// gates (N, M) of the chosen (N, M). Any grid; a block is whole warps. Twin: gates.h, gate_values.
template <class T>
__global__ void gate_values(Router<T> router, const int* chosen, T* gates) {
  for (Index n = grid_warp(); n < router.tokens; n += grid_warps())
    gates_of_token(router, router.logits + n * router.experts, chosen + n * router.token_slots,
                   gates + n * router.token_slots);
}

/// Gradient of one token's logits (E), all lanes together.
template <class T>
__device__ inline void token_gates_backward(const Router<T>& router, const T* logits,
                                            const int* chosen, const T* gates, const T* d_gates,
                                            T* d_logits) {
  const bool is_sigmoid = router.gate == Gate::sigmoid;
  const bool of_all = router.gate == Gate::softmax_topk;
  T dot = 0;
  for (int k = lane_number(); k < router.top_k; k += kWarp) dot += gates[k] * d_gates[k];
  dot = warp_sum(dot);
  const Normaliser<T> all = softmax_over<T>(router.experts, [&](int e) { return logits[e]; });
  for (int e = lane_number(); e < router.experts; e += kWarp)
    d_logits[e] = of_all ? -dot * all.share(logits[e]) : T{0};
  __syncwarp();  // a chosen expert's gradient is another lane's to finish
  // What a gate shares with the others: a sum of gate_scale, or none.
  T shared = of_all ? T{0} : dot;
  if (is_sigmoid) shared = router.gate_norm ? dot / static_cast<T>(router.gate_scale) : T{0};
  for (int k = lane_number(); k < router.top_k; k += kWarp) {
    const T slope = is_sigmoid ? Silu::sigmoid(-logits[chosen[k]]) : T{1};
    d_logits[chosen[k]] += gates[k] * (d_gates[k] - shared) * slope;
  }
}

/// d_logits (N, E) from d_gates (N, M). Any grid; a block is whole warps. Twin: gates.h,
/// gates_backward.
template <class T>
__global__ void gates_backward(Router<T> router, const int* chosen, const T* gates,
                               const T* d_gates, T* d_logits) {
  for (Index n = grid_warp(); n < router.tokens; n += grid_warps()) {
    const Index slot = n * router.token_slots, expert = n * router.experts;
    token_gates_backward(router, router.logits + expert, chosen + slot, gates + slot,
                         d_gates + slot, d_logits + expert);
  }
}

/// d_scale (N, E) of the noise's scale from d_logits (N, E) and add_noise's slope. Any grid, any
/// block. Twin: logit_gradients.
template <class T>
__global__ void add_noise_backward(Index tokens, Index experts, const T* slope, const T* d_logits,
                                   T* d_scale) {
  for (Index i = grid_thread(); i < tokens * experts; i += grid_threads())
    d_scale[i] = d_logits[i] * slope[i];
}

}  // namespace moe::kernels::cuda
