#pragma once

#include <cstddef>
#include <vector>

#include "moe/base/random.h"
#include "moe/sweep/space.h"

namespace moe::sweep {

/// The kernels of one parameter: one an observation, as wide as the gap to its neighbours, and last
/// a prior as wide as the range (Bergstra et al. 2011, section 4).
class ParameterKernels {
 public:
  /// `observed`: values of the parameter in the order in which they were observed.
  ParameterKernels(const Parameter& parameter, const std::vector<double>& observed);

  const Parameter& parameter() const { return *parameter_; }
  double sample(std::size_t kernel, Generator& random) const;
  /// Of the value's density, or of its probability where values are discrete.
  double log_density(std::size_t kernel, double value) const;

 private:
  void add_numbers(const std::vector<double>& observed);
  void add_choices(const std::vector<double>& observed);
  double step() const;
  double scaled(double value) const;

  const Parameter* parameter_;
  double low_ = 0, high_ = 0;  // scaled, half a step beyond the ends where values are discrete
  std::vector<double> means_, widths_;              // of numbers; in the scale of the parameter
  std::vector<std::vector<double>> probabilities_;  // of choices, a row a kernel
};

/// The density of some parameters together over the points that were observed: a mixture of one
/// product of kernels an observation and of the prior (Falkner et al. 2018, "BOHB", section 4).
class ParzenEstimator {
 public:
  /// `observed`: points with a value for each of the parameters, in the order in which they were
  /// observed. A parameter must have more than one value.
  ParzenEstimator(const std::vector<const Parameter*>& parameters,
                  const std::vector<const Point*>& observed);

  Point sample(Generator& random) const;
  double log_density(const Point& point) const;

 private:
  std::vector<double> weights_;  // of the kernels; they sum to 1
  std::vector<ParameterKernels> kernels_;
};

}  // namespace moe::sweep
