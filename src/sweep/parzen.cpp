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

/// The z with P(Z < z) = p, by bisection: as exact as a double, and a few microseconds.
double normal_quantile(double p) {
  double low = -40, high = 40;
  for (int i = 0; i < 80; ++i) {
    const double middle = (low + high) / 2;
    (normal_cdf(middle) < p ? low : high) = middle;
  }
  return (low + high) / 2;
}

/// The index at which `left`, drawn from [0, 1), is used up by the probabilities.
std::size_t pick(const std::vector<double>& probabilities, double left) {
  for (std::size_t i = 0; i < probabilities.size(); ++i)
    if ((left -= probabilities[i]) < 0) return i;
  return probabilities.size() - 1;
}

void normalize(std::vector<double>& values) {
  const auto sum = std::accumulate(values.begin(), values.end(), 0.0);
  for (auto& value : values) value /= sum;
}

/// Old observations count less: a ramp up to the latest 25, which count in full (Bergstra et al.
/// 2013, "linear forgetting"). The prior comes last.
std::vector<double> weights_of(std::size_t observations) {
  std::vector<double> out(observations, 1);
  const auto ramp = observations > kFullWeights ? observations - kFullWeights : 0;
  const double first = 1 / static_cast<double>(std::max<std::size_t>(1, observations));
  for (std::size_t i = 0; i < ramp; ++i)
    out[i] = ramp == 1
                 ? first
                 : first + (1 - first) * static_cast<double>(i) / static_cast<double>(ramp - 1);
  out.push_back(kPriorWeight);
  normalize(out);
  return out;
}

/// The larger distance to a neighbour, clipped (section 4: "set to the greater of the distances to
/// the left and right neighbor, but clipped to remain in a reasonable range"). The ends of the
/// range are neighbours of a lone observation only.
std::vector<double> widths_of(const std::vector<double>& means, double low, double high) {
  const auto count = means.size();
  std::vector<std::size_t> order(count);
  std::iota(order.begin(), order.end(), 0);
  std::stable_sort(order.begin(), order.end(), [&](auto a, auto b) { return means[a] < means[b]; });
  const double least = (high - low) / std::min(100.0, 2 + static_cast<double>(count));
  std::vector<double> out(count);
  for (std::size_t place = 0; place < count; ++place) {
    const double mean = means[order[place]];
    double left = place > 0 ? mean - means[order[place - 1]] : 0;
    double right = place + 1 < count ? means[order[place + 1]] - mean : 0;
    if (count == 1) left = mean - low, right = high - mean;
    out[order[place]] = std::clamp(std::max(left, right), least, high - low);
  }
  return out;
}

}  // namespace

ParameterKernels::ParameterKernels(const Parameter& parameter, const std::vector<double>& observed)
    : parameter_(&parameter) {
  parameter.kind == Parameter::Kind::choices ? add_choices(observed) : add_numbers(observed);
}

double ParameterKernels::step() const {
  return parameter_->step.value_or(parameter_->kind == Parameter::Kind::integer ? 1 : 0);
}

double ParameterKernels::scaled(double value) const {
  return parameter_->log ? std::log(value) : value;
}

/// Each row is the observed choice and the prior's share, spread over all (section 4.1).
void ParameterKernels::add_choices(const std::vector<double>& observed) {
  const auto share = kPriorWeight / static_cast<double>(observed.size() + 1);
  probabilities_.assign(observed.size() + 1,
                        std::vector<double>(parameter_->choices.size(), share));
  for (std::size_t i = 0; i < observed.size(); ++i)
    probabilities_[i][static_cast<std::size_t>(observed[i])] += 1;
  for (auto& row : probabilities_) normalize(row);
}

void ParameterKernels::add_numbers(const std::vector<double>& observed) {
  low_ = scaled(parameter_->low - step() / 2);
  high_ = scaled(parameter_->high + step() / 2);
  for (const auto value : observed) means_.push_back(scaled(value));
  widths_ = widths_of(means_, low_, high_);
  means_.push_back((low_ + high_) / 2);
  widths_.push_back(high_ - low_);
}

double ParameterKernels::sample(std::size_t kernel, Generator& random) const {
  if (parameter_->kind == Parameter::Kind::choices)
    return static_cast<double>(pick(probabilities_[kernel], random.uniform()));
  // A truncated normal by its quantile: one draw, always.
  const double mean = means_[kernel], width = widths_[kernel];
  const double below = normal_cdf((low_ - mean) / width);
  const double above = normal_cdf((high_ - mean) / width);
  const double z = normal_quantile(below + random.uniform() * (above - below));
  const double at = std::clamp(mean + width * z, low_, high_);
  return parameter_->nearest(parameter_->log ? std::exp(at) : at);
}

double ParameterKernels::log_density(std::size_t kernel, double value) const {
  if (parameter_->kind == Parameter::Kind::choices)
    return std::log(probabilities_[kernel][static_cast<std::size_t>(value)]);
  const double width = widths_[kernel];
  const auto z = [&](double at) { return (at - means_[kernel]) / width; };
  const double inside = std::log(normal_mass(z(low_), z(high_)));
  if (step() > 0) {
    const double left = z(scaled(value - step() / 2)), right = z(scaled(value + step() / 2));
    return std::log(normal_mass(left, right)) - inside;
  }
  const double at = z(scaled(value));
  return -0.5 * at * at - std::log(width * std::sqrt(2 * std::numbers::pi)) - inside;
}

ParzenEstimator::ParzenEstimator(const std::vector<const Parameter*>& parameters,
                                 const std::vector<const Point*>& observed)
    : weights_(weights_of(observed.size())) {
  for (const auto* parameter : parameters) {
    std::vector<double> values;
    values.reserve(observed.size());
    for (const auto* point : observed) values.push_back(point->at(parameter->key));
    kernels_.emplace_back(*parameter, values);
  }
}

Point ParzenEstimator::sample(Generator& random) const {
  Point out;
  const auto kernel = pick(weights_, random.uniform());
  for (const auto& one : kernels_) out[one.parameter().key] = one.sample(kernel, random);
  return out;
}

double ParzenEstimator::log_density(const Point& point) const {
  std::vector<double> logs;
  for (std::size_t kernel = 0; kernel < weights_.size(); ++kernel) {
    logs.push_back(std::log(weights_[kernel]));
    for (const auto& one : kernels_)
      logs.back() += one.log_density(kernel, point.at(one.parameter().key));
  }
  // The prior is nowhere 0: the largest is finite.
  const double largest = *std::max_element(logs.begin(), logs.end());
  double sum = 0;
  for (const auto log : logs) sum += std::exp(log - largest);
  return largest + std::log(sum);
}

}  // namespace moe::sweep
