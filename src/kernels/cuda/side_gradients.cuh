#pragma once

#include "side_loss.cuh"

// What side losses ask for of gates and logits, and the bias that takes their place, after
// kernels/cpu/balance.h and train/balance.cpp. Shapes as in side_loss.cuh.

namespace moe::kernels::cuda {

/// d_gates (N, M) of a token's choices += what the importance loss, whose gradient is d_loss (1),
/// asks for. Any grid, any block. Twin: add_importance_gradients.
template <class T>
__global__ void importance_gradients(RoutedTokens<T> routed, SideLosses losses,
                                     const double* d_loss, T* d_gates) {
  for (Index i = grid_thread(); i < routed.tokens * routed.top_k; i += grid_threads()) {
    const Index slot = i / routed.top_k * routed.token_slots + i % routed.top_k;
    d_gates[slot] += static_cast<T>(*d_loss * losses.importance_slope[routed.chosen[slot]]);
  }
}

/// What the side losses ask for of one logit: as it was before noise, with it, and of the noise's
/// scale.
template <class T>
struct LogitGradient {
  T clean, noisy, scale;
};

/// A token's gradients, expert by expert.
template <class T>
class SideGradients {
 public:
  __device__ SideGradients(const RoutedToken<T>& token, const SideWeights& weights,
                           const SideLosses& losses, double d_loss)
      : token_(token), weights_(weights), losses_(losses), d_loss_(d_loss) {
    const int experts = token.routed.experts;
    if (weights.reads_probabilities()) {
      slope_ = losses.probability_slope + token.n / token.routed.time * experts;
      shares_ = token.shares();
      for (int e = lane_number(); e < experts; e += kWarp)
        mean_slope_ += slope_[e] * static_cast<double>(shares_.share(token.score(e)));
      mean_slope_ = warp_sum(mean_slope_);
    }
    if (weights.reads_squares()) log_sum_ = token.log_sum_exp();
    if (!weights.reads_load()) return;
    const LoadEstimate<T> estimate = load_estimate(token);
    last_ = estimate.last;
    next_ = estimate.next;
    for (int e = lane_number(); e < experts; e += kWarp)
      (token.is_chosen(e) ? passed_by_chosen_ : passed_by_others_) += by_logit(e);
    passed_by_chosen_ = warp_sum(passed_by_chosen_);
    passed_by_others_ = warp_sum(passed_by_others_);
  }

  __device__ LogitGradient<T> of(int e) const {
    LogitGradient<T> d{T{0}, T{0}, T{0}};
    if (weights_.reads_probabilities()) {
      const bool is_sigmoid = token_.routed.gate == Gate::sigmoid;
      const T own = is_sigmoid ? Silu::sigmoid(-token_.clean()[e]) : T{1};
      d.clean = shares_.share(token_.score(e)) *
                static_cast<T>(d_loss_ * (slope_[e] - mean_slope_)) * own;
    }
    if (weights_.reads_squares()) {
      const double slope = d_loss_ * *losses_.square_slope * 2 * log_sum_;
      d.clean += static_cast<T>(slope * exp(static_cast<double>(token_.clean()[e]) - log_sum_));
    }
    if (!weights_.reads_load()) return d;
    const LoadEstimate<T> estimate{token_, last_, next_};
    const double d_logit = by_logit(e);
    d.clean += static_cast<T>(d_logit);
    if (e == next_) d.noisy -= static_cast<T>(passed_by_chosen_);
    if (e == last_) d.noisy -= static_cast<T>(passed_by_others_);
    // The slope of softplus where its value is `std`.
    d.scale = static_cast<T>(d_logit * estimate.margin(e) * expm1(-estimate.std(e)));
    return d;
  }

 private:
  __device__ double by_logit(int e) const {
    const LoadEstimate<T> estimate{token_, last_, next_};
    return d_loss_ * losses_.load_slope[e] * estimate.density(e);
  }

  const RoutedToken<T>& token_;
  const SideWeights& weights_;
  const SideLosses& losses_;
  double d_loss_;
  const double* slope_ = nullptr;  // (E) of the probabilities
  Normaliser<T> shares_{};
  double mean_slope_ = 0, log_sum_ = 0;
  int last_ = 0, next_ = 0;
  double passed_by_chosen_ = 0, passed_by_others_ = 0;  // gradients that go to whom they pass
};

/// d_logits (N, E) from those that the tokens were routed by (gates_backward) to those of the
/// router's product, with what the side losses ask for, whose gradient is d_loss (1); d_scale
/// (N, E) of the noise's scale, null where there is no noise. It takes the place of
/// add_noise_backward. Any grid; a block is whole warps, a warp a token. Twin: logit_gradients.
template <class T>
__global__ void side_gradients(RoutedTokens<T> routed, SideWeights weights, SideLosses losses,
                               const double* d_loss, T* d_logits, T* d_scale) {
  for (Index n = grid_warp(); n < routed.tokens; n += grid_warps()) {
    const RoutedToken<T> token{routed, n};
    const SideGradients<T> gradients(token, weights, losses, *d_loss);
    for (int e = lane_number(); e < routed.experts; e += kWarp) {
      const Index i = n * routed.experts + e;
      const LogitGradient<T> d = gradients.of(e);
      const T noisy = d_logits[i] + d.noisy;
      d_logits[i] = noisy + d.clean;
      if (d_scale != nullptr) d_scale[i] = noisy * routed.slope[i] + d.scale;
    }
  }
}

/// bias (E) += rate * sign(mean count - count) of each expert, by the choices (E) of a whole update
/// (Wang et al. 2024, arXiv 2408.15664); none moves in a refused one. Grid: 1; block: any. Twin:
/// move_balance_biases.
template <class T>
__global__ void move_biases(const double* choices, int experts, double rate, const Update* update,
                            T* bias) {
  if (update->is_sound == 0) return;
  const double all = sum_over(experts, [&](Index e) { return choices[e]; });
  for (Index e = threadIdx.x; e < experts; e += blockDim.x) {
    const double lack = all - choices[e] * experts;  // whole numbers, so that an even load is even
    bias[e] += static_cast<T>(lack > 0 ? rate : lack < 0 ? -rate : 0);
  }
}

}  // namespace moe::kernels::cuda
