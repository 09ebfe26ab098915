#pragma once

#include "guard.cuh"
#include "route.cuh"

// Side losses of a mixture layer (docs/routing.md), after kernels/side_loss.cpp and
// kernels/cpu/balance.h: values of each token, their sums, the losses as functions of these, and
// the gradients that they give to gates and logits. Shapes: N tokens in B windows of T, E experts,
// K choices of M slots of a token. Sums, losses and slopes are in double.

namespace moe::kernels::cuda {

/// In the order of moe::BalanceSum and moe::SideTerm.
enum BalanceSum { kChoices, kImportance, kLoad, kProbability, kBalanceSums };
enum SideTerm { kSwitchBatch, kSwitchSequence, kImportanceLoss, kLoadLoss, kZLoss, kSideTerms };

/// Weights of the losses; 0: it is not there.
struct SideWeights {
  double switch_batch, switch_sequence, importance_load, z_loss;

  __device__ bool reads_probabilities() const { return switch_batch > 0 || switch_sequence > 0; }
  __device__ bool reads_squares() const { return z_loss > 0; }
  __device__ bool reads_load() const { return importance_load > 0; }
};

/// How tokens were routed. The load loss supposes noise, K < E, and no bias of the choice.
template <class T>
struct RoutedTokens {
  Index tokens, time;
  int experts, top_k, token_slots;
  Gate gate;
  const T* clean;     // (N, E) logits before noise
  const T* logits;    // (N, E) that the choice was made by: clean where there is no noise
  const T* scale;     // (N, E) of the noise, what a Linear yields; null: there is none
  const T* slope;     // (N, E) of add_noise; null likewise
  const int* chosen;  // (N, M)
  const T* gates;     // (N, M)

  __device__ Index windows() const { return tokens / time; }
};

/// One token, which a warp serves.
template <class T>
struct RoutedToken {
  const RoutedTokens<T>& routed;
  Index n;

  __device__ const T* clean() const { return routed.clean + n * routed.experts; }
  __device__ const T* noisy() const { return routed.logits + n * routed.experts; }
  __device__ const int* chosen() const { return routed.chosen + n * routed.token_slots; }
  __device__ bool is_chosen(int expert) const {
    for (int k = 0; k < routed.top_k; ++k)
      if (chosen()[k] == expert) return true;
    return false;
  }
  /// What the router's scores are the softmax of; their shares.
  __device__ T score(int e) const {
    return routed.gate == Gate::sigmoid ? log_sigmoid(clean()[e]) : clean()[e];
  }
  __device__ Normaliser<T> shares() const {
    return softmax_over<T>(routed.experts, [&](int e) { return score(e); });
  }
  __device__ double log_sum_exp() const {
    const Normaliser<double> all = softmax_over<double>(
        routed.experts, [&](int e) { return static_cast<double>(clean()[e]); });
    return all.most + log(all.sum);
  }
};

/// With which probability an expert would be among the K if its own noise were drawn again and the
/// others' stayed (Shazeer et al. 2017, arXiv 1701.06538, appendix A).
template <class T>
struct LoadEstimate {
  static constexpr double kLeastStd =
      1e-6;  // nothing is divided by the softplus of what is far below 0
  const RoutedToken<T>& token;
  int last;  // of the chosen: who is not has to pass it
  int next;  // the best that is not chosen: the chosen have to pass it

  __device__ double std(int e) const {
    const T raw = token.routed.scale[token.n * token.routed.experts + e];
    const double value = static_cast<double>(softplus(raw));
    return value > kLeastStd ? value : kLeastStd;
  }
  __device__ double margin(int e) const {
    const int threshold = token.is_chosen(e) ? next : last;
    return (static_cast<double>(token.clean()[e]) - static_cast<double>(token.noisy()[threshold])) /
           std(e);
  }
  __device__ double probability(int e) const {
    constexpr double kRootOfTwo = 1.4142135623730951;
    return 0.5 * erfc(-margin(e) / kRootOfTwo);
  }
  /// By which the probability grows with the expert's own logit.
  __device__ double density(int e) const {
    constexpr double kRootOfTwoPi = 2.5066282746310002;
    const double u = margin(e);
    return exp(-0.5 * u * u) / (kRootOfTwoPi * std(e));
  }
};

/// By all lanes of the token's warp.
template <class T>
__device__ inline LoadEstimate<T> load_estimate(const RoutedToken<T>& token) {
  Candidate<T> best{T{0}, -1};
  for (int e = lane_number(); e < token.routed.experts; e += kWarp) {
    const Candidate<T> other{token.noisy()[e], e};
    if (!token.is_chosen(e) && best.loses_to(other)) best = other;
  }
  return {token, token.chosen()[token.routed.top_k - 1], best_of_warp(best).expert};
}

/// values (N, 2E + 1): of each token the probabilities of the load, the shares of the router's
/// scores, and logsumexp(logits)^2; what no loss reads is not written. Any grid; a block is whole
/// warps.
template <class T>
__global__ void side_values(RoutedTokens<T> routed, SideWeights weights, double* values) {
  const int experts = routed.experts;
  for (Index n = grid_warp(); n < routed.tokens; n += grid_warps()) {
    const RoutedToken<T> token{routed, n};
    double* mine = values + n * (2 * experts + 1);
    if (weights.reads_load()) {
      const LoadEstimate<T> estimate = load_estimate(token);
      for (int e = lane_number(); e < experts; e += kWarp) mine[e] = estimate.probability(e);
    }
    if (weights.reads_probabilities()) {
      const Normaliser<T> shares = token.shares();
      for (int e = lane_number(); e < experts; e += kWarp)
        mine[experts + e] = static_cast<double>(shares.share(token.score(e)));
    }
    if (weights.reads_squares()) {
      const double value = token.log_sum_exp();
      if (lane_number() == 0) mine[2 * experts] = value * value;
    }
  }
}

/// What tokens of one window add up to, one after another, from value(n) of each.
template <class Value>
__device__ inline double window_sum(Index window, Index time, const Value& value) {
  double sum = 0;
  for (Index n = window * time; n < (window + 1) * time; ++n) sum += value(n);
  return sum;
}

/// sums (B, kBalanceSums, E) and log_squares (B) of each window; 0 for what no loss reads. Any
/// grid, any block. Twin, with side_values: balance_sums.
template <class T>
__global__ void side_sums(RoutedTokens<T> routed, SideWeights weights, const double* values,
                          double* sums, double* log_squares) {
  const Index experts = routed.experts, row = 2 * experts + 1;
  const Index rows = kBalanceSums * experts + 1;  // the last is of the squares
  for (Index i = grid_thread(); i < routed.windows() * rows; i += grid_threads()) {
    const Index window = i / rows, which = i % rows / experts, e = i % rows % experts;
    double* to = which == kBalanceSums ? log_squares + window : sums + i - window;
    Index column = -1;  // of the values
    if (which == kLoad && weights.reads_load()) column = e;
    if (which == kProbability && weights.reads_probabilities()) column = experts + e;
    if (which == kBalanceSums && weights.reads_squares()) column = 2 * experts;
    *to = window_sum(window, routed.time, [&](Index n) {
      if (which >= kLoad) return column < 0 ? 0.0 : values[n * row + column];
      double sum = 0;
      for (Index slot = n * routed.token_slots; slot < n * routed.token_slots + routed.top_k;
           ++slot)
        if (routed.chosen[slot] == e)
          sum += which == kChoices ? 1.0 : static_cast<double>(routed.gates[slot]);
      return sum;
    });
  }
}

/// What the losses are functions of.
struct SideSums {
  Index windows, time;
  int experts;
  const double *sums, *log_squares;  // of side_sums
  /// (kBalanceSums, E) of the whole update that these tokens are a part of; null: they are all.
  const double* update;

  __device__ const double* of_window(Index window, BalanceSum which) const {
    return sums + (window * kBalanceSums + which) * experts;
  }
  __device__ double tokens() const { return static_cast<double>(windows * time); }
};
/// The losses: their weighted sum, each without its weight, the sums over all windows, and the
/// slopes of the weighted sum, which the gradients read.
struct SideLosses {
  double *loss, *terms, *totals;          // (1), (kSideTerms), (kBalanceSums, E)
  double* probability_slope;              // (B, E)
  double *importance_slope, *load_slope;  // (E)
  double* square_slope;                   // (1) of each token's logsumexp^2
};

/// The sum of value(i), i in [0, count), for all threads of the block.
template <class Value>
__device__ inline double sum_over(Index count, const Value& value) {
  double sum = 0;
  for (Index i = threadIdx.x; i < count; i += blockDim.x) sum += value(i);
  return block_sum(sum);
}

/// CV^2 of values (E) of the whole update (Shazeer et al. 2017, arXiv 1701.06538), and its slopes
/// times `weight`.
__device__ inline double variation(const double* values, int experts, double weight,
                                   double* slopes) {
  constexpr double kEps = 1e-10;  // for sums that are all 0
  const double mean = sum_over(experts, [&](Index e) { return values[e]; }) / experts;
  const double variance =
      sum_over(experts, [&](Index e) { return (values[e] - mean) * (values[e] - mean) / experts; });
  const double base = mean * mean + kEps, squared = variance / base;
  for (Index e = threadIdx.x; e < experts; e += blockDim.x)
    slopes[e] = weight * 2 / experts * ((values[e] - mean) - squared * mean) / base;
  return squared;
}

/// The Switch losses (Fedus et al. 2021, arXiv 2101.03961): E * the sum of f P, with f the shares
/// of the choices, which are constants, and P the means of the probabilities. Of the batch f is
/// that of the whole update, whose choices are `all`; of a sequence both are its own (DeepSeek-V3,
/// arXiv 2412.19437). A warp takes a window.
__device__ inline void switch_losses(const SideWeights& weights, const SideSums& tokens,
                                     const double* whole, double all, const SideLosses& to) {
  const int experts = tokens.experts;
  double batch = 0, sequence = 0;
  for (Index w = threadIdx.x / kWarp; w < tokens.windows; w += blockDim.x / kWarp) {
    const double* chosen = tokens.of_window(w, kChoices);
    double choices = 0;
    for (int e = lane_number(); e < experts; e += kWarp) choices += chosen[e];
    choices = warp_sum(choices);
    for (int e = lane_number(); e < experts; e += kWarp) {
      const double mean = tokens.of_window(w, kProbability)[e] / tokens.tokens();
      const double share = experts * whole[e] / all, own_share = experts * chosen[e] / choices;
      batch += share * mean;
      sequence += own_share * mean;
      to.probability_slope[w * experts + e] =
          (weights.switch_batch * share + weights.switch_sequence * own_share) / tokens.tokens();
    }
  }
  batch = block_sum(batch);
  sequence = block_sum(sequence);
  if (threadIdx.x != 0) return;
  if (weights.switch_batch > 0) to.terms[kSwitchBatch] = batch;
  if (weights.switch_sequence > 0) to.terms[kSwitchSequence] = sequence;
}

/// Slopes that no gradient reads are not written. Grid: 1; block: any. Twin: side_losses.
__global__ void side_losses(SideWeights weights, SideSums tokens, SideLosses to) {
  const int experts = tokens.experts;
  for (Index i = threadIdx.x; i < kSideTerms; i += blockDim.x) to.terms[i] = 0;
  for (Index i = threadIdx.x; i < kBalanceSums * experts; i += blockDim.x) {
    double sum = 0;
    for (Index w = 0; w < tokens.windows; ++w) sum += tokens.sums[w * kBalanceSums * experts + i];
    to.totals[i] = sum;
  }
  __syncthreads();  // the totals are read by other threads
  const double* whole = tokens.update == nullptr ? to.totals : tokens.update;
  const double all = sum_over(experts, [&](Index e) { return whole[kChoices * experts + e]; });
  if (weights.reads_probabilities())
    switch_losses(weights, tokens, whole + kChoices * experts, all, to);
  if (weights.reads_load()) {
    // These tokens are one part of the update, whose gradients are averaged with those of the
    // others: so many times its own.
    const double here =
        sum_over(experts, [&](Index e) { return to.totals[kChoices * experts + e]; });
    const double weight = weights.importance_load * all / here;
    const double importance =
        variation(whole + kImportance * experts, experts, weight, to.importance_slope);
    const double load = variation(whole + kLoad * experts, experts, weight, to.load_slope);
    if (threadIdx.x == 0) {
      to.terms[kImportanceLoss] = importance;
      to.terms[kLoadLoss] = load;
    }
  }
  const double squares = sum_over(tokens.windows, [&](Index w) { return tokens.log_squares[w]; });
  if (threadIdx.x != 0) return;
  if (weights.reads_squares()) {
    to.terms[kZLoss] = squares / tokens.tokens();
    *to.square_slope = weights.z_loss / tokens.tokens();
  }
  *to.loss = weights.switch_batch * to.terms[kSwitchBatch] +
             weights.switch_sequence * to.terms[kSwitchSequence] +
             weights.importance_load * (to.terms[kImportanceLoss] + to.terms[kLoadLoss]) +
             weights.z_loss * to.terms[kZLoss];
}

/// to (count) += from (count): the sums of one part to those of its update. Any grid, any block.
__global__ void add_sums(const double* from, Index count, double* to) {
  for (Index i = grid_thread(); i < count; i += grid_threads()) to[i] += from[i];
}

}  // namespace moe::kernels::cuda
