#include "sweep/parzen.h"

#include <algorithm>
#include <cmath>
#include <numbers>
#include <numeric>

namespace moe::sweep {

namespace {

constexpr double kPriorWeight = 1;
constexpr std::size_t kFullWeights = 25;  // of the latest observations; older ones fade

double normal_cdf(double z) { return 0.5 * std::erfc(-z / std::numbers::sqrt2); }

/// P(a < Z < b), kept exact in the tails.
double normal_mass(double a, double b) {
  return a > 0 ? normal_cdf(-a) - normal_cdf(-b) : normal_cdf(b) - normal_cdf(a);
}

/// The z with P(Z < z) = p, by bisection: fifty steps of a few nanoseconds, a few times a proposal.
double normal_quantile(double p) {
  double low = -40, high = 40;
  for (int i = 0; i < 80; ++i) {
    const double middle = (low + high) / 2;
    (normal_cdf(middle) < p ? low : high) = middle;
  }
  return (low + high) / 2;
}

/// Old observations count less: a ramp up to the latest 25, which count in full (Bergstra et al.
/// 2013, "linear forgetting").
std::vector<double> weights_of(std::size_t count) {
  std::vector<double> out(count, 1);
  if (count <= kFullWeights) return out;
  const auto ramp = count - kFullWeights;
  const double first = 1 / static_cast<double>(count);
  for (std::size_t i = 0; i < ramp; ++i)
    out[i] = ramp == 1
                 ? first
                 : first + (1 - first) * static_cast<double>(i) / static_cast<double>(ramp - 1);
  return out;
}

}  // namespace

ParzenEstimator::ParzenEstimator(const Parameter& parameter, const std::vector<double>& observed)
    : parameter_(&parameter) {
  const auto weights = weights_of(observed.size());
  if (parameter.kind == Parameter::Kind::choices)
    add_choices(observed, weights);
  else
    add_numeric(observed, weights);
}

double ParzenEstimator::scaled(double value) const {
  return parameter_->log ? std::log(value) : value;
}

void ParzenEstimator::add_choices(const std::vector<double>& observed,
                                  const std::vector<double>& weights) {
  const auto count = parameter_->choices.size();
  // Counts plus the prior's share (section 4.1: "the i-th element of the posterior is
  // proportional to N p_i + C_i").
  probabilities_.assign(count, kPriorWeight / static_cast<double>(count));
  for (std::size_t i = 0; i < observed.size(); ++i)
    probabilities_[static_cast<std::size_t>(observed[i])] += weights[i];
  const auto sum = std::accumulate(probabilities_.begin(), probabilities_.end(), 0.0);
  for (auto& probability : probabilities_) probability /= sum;
}

void ParzenEstimator::add_numeric(const std::vector<double>& observed,
                                  const std::vector<double>& weights) {
  const auto step = parameter_->step.value_or(parameter_->kind == Parameter::Kind::integer ? 1 : 0);
  low_ = scaled(parameter_->low - step / 2);
  high_ = scaled(parameter_->high + step / 2);
  const double range = high_ - low_;
  const double prior_mean = (low_ + high_) / 2;
  for (std::size_t i = 0; i < observed.size(); ++i)
    kernels_.push_back({weights[i], scaled(observed[i]), 0});
  kernels_.push_back({kPriorWeight, prior_mean, range});
  std::vector<std::size_t> order(kernels_.size());
  std::iota(order.begin(), order.end(), 0);
  std::stable_sort(order.begin(), order.end(),
                   [&](auto a, auto b) { return kernels_[a].mean < kernels_[b].mean; });
  // Width: the larger distance to a neighbour, clipped (section 4: "set to the greater of the
  // distances to the left and right neighbor, but clipped to remain in a reasonable range").
  const auto count = static_cast<double>(kernels_.size());
  const double least = range / std::min(100.0, 1 + count);
  for (std::size_t place = 0; place < order.size(); ++place) {
    auto& kernel = kernels_[order[place]];
    if (order[place] + 1 == kernels_.size()) continue;  // the prior keeps its width
    const double left = place > 0 ? kernel.mean - kernels_[order[place - 1]].mean : 0;
    const double right =
        place + 1 < order.size() ? kernels_[order[place + 1]].mean - kernel.mean : 0;
    kernel.width = std::clamp(std::max(left, right), least, range);
  }
  double sum = 0;
  for (const auto& kernel : kernels_) sum += kernel.weight;
  for (auto& kernel : kernels_) kernel.weight /= sum;
}

const ParzenEstimator::Kernel& ParzenEstimator::pick(Generator& random) const {
  double left = random.uniform();
  for (const auto& kernel : kernels_)
    if ((left -= kernel.weight) < 0) return kernel;
  return kernels_.back();
}

double ParzenEstimator::sample_number(Generator& random) const {
  const auto& kernel = pick(random);
  // A truncated normal by its quantile: one draw, always.
  const double below = normal_cdf((low_ - kernel.mean) / kernel.width);
  const double above = normal_cdf((high_ - kernel.mean) / kernel.width);
  const double z = normal_quantile(below + random.uniform() * (above - below));
  const double at = std::clamp(kernel.mean + kernel.width * z, low_, high_);
  return parameter_->log ? std::exp(at) : at;
}

double ParzenEstimator::sample(Generator& random) const {
  if (parameter_->kind == Parameter::Kind::choices) {
    double left = random.uniform();
    for (std::size_t i = 0; i < probabilities_.size(); ++i)
      if ((left -= probabilities_[i]) < 0) return static_cast<double>(i);
    return static_cast<double>(probabilities_.size() - 1);
  }
  return parameter_->nearest(sample_number(random));
}

double ParzenEstimator::log_density(double value) const {
  if (parameter_->kind == Parameter::Kind::choices)
    return std::log(probabilities_[static_cast<std::size_t>(value)]);
  const auto step = parameter_->step.value_or(parameter_->kind == Parameter::Kind::integer ? 1 : 0);
  const double left = scaled(value - step / 2), right = scaled(value + step / 2);
  double density = 0;
  for (const auto& kernel : kernels_) {
    const auto z = [&](double at) { return (at - kernel.mean) / kernel.width; };
    const double inside = normal_mass(z(low_), z(high_));
    const double here = step > 0 ? normal_mass(z(left), z(right))
                                 : std::exp(-0.5 * z(left) * z(left)) /
                                       (kernel.width * std::sqrt(2 * std::numbers::pi));
    density += kernel.weight * here / inside;
  }
  return std::log(std::max(density, 1e-300));
}

}  // namespace moe::sweep
