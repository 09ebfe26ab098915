#include "kernels/side_loss.h"

#include <algorithm>
#include <numeric>

namespace moe::kernels {

namespace {

/// A squared coefficient of variation: variance over squared mean.
class Variation {
 public:
  Variation(const double* values, std::int64_t count) : values_(values), count_(count) {
    const auto n = static_cast<double>(count);
    mean_ = std::accumulate(values, values + count, 0.0) / n;
    for (std::int64_t i = 0; i < count; ++i)
      variance_ += (values[i] - mean_) * (values[i] - mean_) / n;
  }
  double squared() const { return variance_ / base(); }
  /// d squared() / d value i.
  double slope(std::int64_t i) const {
    return 2 / static_cast<double>(count_) * ((values_[i] - mean_) - squared() * mean_) / base();
  }

 private:
  static constexpr double kEps = 1e-10;  // for sums that are all 0
  double base() const { return mean_ * mean_ + kEps; }

  const double* values_;
  std::int64_t count_;
  double mean_ = 0, variance_ = 0;
};

class Losses {
 public:
  Losses(const BalanceSpec& weights, const SideSums& tokens, const double* totals,
         SideSlopes& slopes)
      : weights_(weights),
        tokens_(tokens),
        totals_(totals),
        whole_(tokens.update != nullptr ? tokens.update : totals),
        slopes_(slopes),
        e_(tokens.experts),
        n_(static_cast<double>(tokens.windows * tokens.time)) {}

  SideTerms all() {
    SideTerms terms{};
    std::fill_n(slopes_.probability, tokens_.windows * e_, 0.0);
    if (weights_.switch_batch > 0) terms[kSwitchBatch] = switch_batch();
    if (weights_.switch_sequence > 0) terms[kSwitchSequence] = switch_sequence();
    if (weights_.importance_load > 0) {
      terms[kImportanceLoss] = variation(kImportance, slopes_.importance);
      terms[kLoadLoss] = variation(kLoad, slopes_.load);
    }
    if (weights_.z_loss > 0) {
      terms[kZLoss] =
          std::accumulate(tokens_.log_squares, tokens_.log_squares + tokens_.windows, 0.0) / n_;
      slopes_.square = weights_.z_loss / n_;
    }
    return terms;
  }

 private:
  const double* of_window(std::int64_t window, BalanceSum row) const {
    return tokens_.sums + (window * kBalanceSums + row) * e_;
  }
  /// Choices of the whole update.
  double choices() const {
    const auto* first = whole_ + kChoices * e_;
    return std::accumulate(first, first + e_, 0.0);
  }

  /// E * sum of f * P (Fedus et al. 2021, arXiv 2101.03961): f, the shares of the update's choices,
  /// are constants; P, the mean probabilities, are those of these tokens.
  double switch_batch() {
    const auto all = choices(), e = static_cast<double>(e_);
    double loss = 0;
    for (std::int64_t i = 0; i < e_; ++i) {
      const auto share = e * whole_[kChoices * e_ + i] / all;
      loss += share * totals_[kProbability * e_ + i] / n_;
      for (std::int64_t w = 0; w < tokens_.windows; ++w)
        slopes_.probability[w * e_ + i] += weights_.switch_batch * share / n_;
    }
    return loss;
  }

  /// The same with f and P of one window, averaged over windows (DeepSeek-V3, arXiv 2412.19437).
  double switch_sequence() {
    const auto t = static_cast<double>(tokens_.time),
               windows = static_cast<double>(tokens_.windows);
    double loss = 0;
    for (std::int64_t w = 0; w < tokens_.windows; ++w) {
      const auto *chosen = of_window(w, kChoices), *p = of_window(w, kProbability);
      const auto all = std::accumulate(chosen, chosen + e_, 0.0);
      for (std::int64_t i = 0; i < e_; ++i) {
        const auto share = static_cast<double>(e_) * chosen[i] / all;
        loss += share * p[i] / t / windows;
        slopes_.probability[w * e_ + i] += weights_.switch_sequence * share / t / windows;
      }
    }
    return loss;
  }

  /// CV^2 of sums over the whole update (Shazeer et al. 2017, arXiv 1701.06538). These tokens are
  /// one part of it, whose gradients are averaged with those of the others: so many times its own.
  double variation(BalanceSum row, double* slope_of) const {
    const Variation of(whole_ + row * e_, e_);
    const auto here = std::accumulate(totals_ + kChoices * e_, totals_ + (kChoices + 1) * e_, 0.0);
    for (std::int64_t i = 0; i < e_; ++i)
      slope_of[i] = weights_.importance_load * choices() / here * of.slope(i);
    return of.squared();
  }

  const BalanceSpec& weights_;
  const SideSums& tokens_;
  const double *totals_, *whole_;
  SideSlopes& slopes_;
  std::int64_t e_;
  double n_;
};

}  // namespace

SideTerms side_losses(const BalanceSpec& weights, const SideSums& tokens, double* totals,
                      SideSlopes& slopes) {
  const auto count = kBalanceSums * tokens.experts;
  std::fill_n(totals, count, 0.0);
  for (std::int64_t w = 0; w < tokens.windows; ++w)
    for (std::int64_t i = 0; i < count; ++i) totals[i] += tokens.sums[w * count + i];
  return Losses(weights, tokens, totals, slopes).all();
}

double weighted(const BalanceSpec& weights, const SideTerms& terms) {
  double sum = 0;
  for (const auto term : {kSwitchBatch, kSwitchSequence, kImportanceLoss, kLoadLoss, kZLoss})
    sum += weights.weight_of(term) * terms[static_cast<std::size_t>(term)];
  return sum;
}

}  // namespace moe::kernels
