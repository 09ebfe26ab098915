#pragma once

#include "kernels/cpu/gates.h"

namespace moe::kernels::cpu::MOE_LEVEL {

// The stage of the side losses (docs/routing.md): what they read of each token, and the gradients
// that they give to its logits. The losses themselves are functions of the sums
// (kernels/side_loss.h).

/// p (E): the router's scores of one token over their sum.
template <class T>
inline void probabilities(Gate gate, const T* logits, Index experts, T* p) {
  for (Index e = 0; e < experts; ++e)
    p[e] = gate == Gate::sigmoid ? log_sigmoid(logits[e]) : logits[e];
  softmax(p, experts);
}

template <class T>
inline double log_sum_exp(const T* logits, Index experts) {
  double most = static_cast<double>(logits[0]), sum = 0;
  for (Index e = 1; e < experts; ++e)
    if (static_cast<double>(logits[e]) > most) most = static_cast<double>(logits[e]);
  for (Index e = 0; e < experts; ++e) sum += __builtin_exp(static_cast<double>(logits[e]) - most);
  return most + __builtin_log(sum);
}

/// With which probability each expert would be among the K of one token if its own noise were drawn
/// again and the others' stayed (Shazeer et al. 2017, arXiv 1701.06538, appendix A).
template <class T>
class LoadEstimate {
 public:
  LoadEstimate(const Mixture<T>& layer, Index n)
      : clean_(layer.clean(n)),
        noisy_(layer.logits + n * layer.experts),
        std_(layer.noise_std + n * layer.experts),
        chosen_(layer.chosen + n * layer.token_slots()),
        top_k_(layer.top_k),
        last_(chosen_[top_k_ - 1]) {
    for (Index e = 0; e < layer.experts; ++e)
      if (!is_chosen(e) && (next_ < 0 || noisy_[e] > noisy_[next_])) next_ = e;
  }

  /// Whose logit expert e has to pass.
  Index threshold(Index e) const { return is_chosen(e) ? next_ : last_; }
  double std(Index e) const {
    const auto value = static_cast<double>(std_[e]);
    return value > kLeastStd ? value : kLeastStd;
  }
  double margin(Index e) const {
    return (static_cast<double>(clean_[e]) - static_cast<double>(noisy_[threshold(e)])) / std(e);
  }
  double probability(Index e) const { return 0.5 * __builtin_erfc(-margin(e) / kRootOfTwo); }
  /// By which the probability grows with the expert's own logit.
  double density(Index e) const {
    const double u = margin(e);
    return __builtin_exp(-0.5 * u * u) / (kRootOfTwoPi * std(e));
  }

 private:
  // softplus of a logit far below 0 is 0 in float; nothing is divided by that.
  static constexpr double kLeastStd = 1e-6;
  static constexpr double kRootOfTwo = 1.4142135623730951, kRootOfTwoPi = 2.5066282746310002;

  bool is_chosen(Index e) const {
    for (Index k = 0; k < top_k_; ++k)
      if (chosen_[k] == e) return true;
    return false;
  }

  const T *clean_, *noisy_, *std_;
  const std::int32_t* chosen_;
  Index top_k_, last_, next_ = -1;
};

/// The sums of one window's tokens, in their order. scratch: (E).
template <class T>
void balance_sums(const Mixture<T>& layer, Index window, T* scratch) {
  const Balance& balance = layer.balance;
  const Index e = layer.experts, k = layer.top_k;
  double* sums = balance.sums + window * kBalanceSums * e;
  for (Index i = 0; i < kBalanceSums * e; ++i) sums[i] = 0;
  double squares = 0;
  for (Index n = window * balance.time; n < (window + 1) * balance.time; ++n) {
    const Index first = n * layer.token_slots();
    for (Index slot = first; slot < first + k; ++slot) {
      sums[kChoices * e + layer.chosen[slot]] += 1;
      sums[kImportance * e + layer.chosen[slot]] += static_cast<double>(layer.gates[slot]);
    }
    if (balance.probabilities) {
      probabilities(layer.gate, layer.clean(n), e, scratch);
      for (Index i = 0; i < e; ++i) sums[kProbability * e + i] += static_cast<double>(scratch[i]);
    }
    if (balance.squares) {
      const double value = log_sum_exp(layer.clean(n), e);
      squares += value * value;
    }
    if (balance.load) {
      const LoadEstimate<T> estimate(layer, n);
      for (Index i = 0; i < e; ++i) sums[kLoad * e + i] += estimate.probability(i);
    }
  }
  balance.log_squares[window] = squares;
}

template <class T>
inline void add_importance_gradients(const Mixture<T>& layer, Index n, T* d_gates) {
  if (!layer.balance.load) return;
  for (Index k = 0; k < layer.top_k; ++k) {
    const Index expert = layer.chosen[n * layer.token_slots() + k];
    d_gates[k] += static_cast<T>(layer.balance.scale * layer.balance.importance_slope[expert]);
  }
}

/// d_clean (E) of one token: what the means of the probabilities ask for.
template <class T>
inline void probability_gradients(const Mixture<T>& layer, Index n, T* d_clean) {
  const Index e = layer.experts;
  const T* logits = layer.clean(n);
  const double* slope = layer.balance.probability_slope + n / layer.balance.time * e;
  probabilities(layer.gate, logits, e, d_clean);
  double mean = 0;
  for (Index i = 0; i < e; ++i) mean += slope[i] * static_cast<double>(d_clean[i]);
  for (Index i = 0; i < e; ++i) {
    const T own = layer.gate == Gate::sigmoid ? sigmoid(-logits[i]) : T{1};
    d_clean[i] *= static_cast<T>(layer.balance.scale * (slope[i] - mean)) * own;
  }
}

/// Adds what the load loss asks for to the gradients of the logits with noise, of those without,
/// and of noise_linear's outcome.
template <class T>
inline void add_load_gradients(const Mixture<T>& layer, Index n, T* d_noisy, T* d_clean,
                               T* d_noise) {
  const LoadEstimate<T> estimate(layer, n);
  for (Index i = 0; i < layer.experts; ++i) {
    const double by_logit = layer.balance.scale * layer.balance.load_slope[i] * estimate.density(i);
    const double by_std = -by_logit * estimate.margin(i);
    d_clean[i] += static_cast<T>(by_logit);
    d_noisy[estimate.threshold(i)] -= static_cast<T>(by_logit);
    // The slope of softplus where its value is `std`.
    d_noise[i] += static_cast<T>(-by_std * __builtin_expm1(-estimate.std(i)));
  }
}

/// What the side losses ask for of token n: adds to the gradient of the logits that it was routed
/// by, and writes those of its logits without noise and of noise_linear's outcome, (E) each.
template <class T>
inline void side_gradients(const Mixture<T>& layer, Index n, T* d_noisy, T* d_clean, T* d_noise) {
  const Balance& balance = layer.balance;
  const Index e = layer.experts;
  for (Index i = 0; i < e; ++i) d_clean[i] = d_noise[i] = 0;
  if (balance.probabilities) probability_gradients(layer, n, d_clean);
  if (balance.squares) {
    const double value = log_sum_exp(layer.clean(n), e);
    const double slope = balance.scale * balance.square_slope * 2 * value;
    for (Index i = 0; i < e; ++i)
      d_clean[i] +=
          static_cast<T>(slope * __builtin_exp(static_cast<double>(layer.clean(n)[i]) - value));
  }
  if (balance.load) add_load_gradients(layer, n, d_noisy, d_clean, d_noise);
}

}  // namespace moe::kernels::cpu::MOE_LEVEL
