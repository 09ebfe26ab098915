#pragma once

#include <cstdint>
#include <vector>

#include "moe/base/random.h"
#include "moe/sweep/space.h"

namespace moe::sweep {

/// The density of one parameter over what was observed: a mixture of one kernel an observation and
/// a wide prior (Bergstra et al. 2011, section 4).
class ParzenEstimator {
 public:
  /// `observed`: values of the parameter in the order in which they were observed.
  ParzenEstimator(const Parameter& parameter, const std::vector<double>& observed);

  double sample(Generator& random) const;
  /// Of the value's density, or of its probability where values are discrete.
  double log_density(double value) const;

 private:
  struct Kernel {
    double weight = 0, mean = 0, width = 0;  // in the scale of the parameter, logarithm included
  };

  void add_numeric(const std::vector<double>& observed, const std::vector<double>& weights);
  void add_choices(const std::vector<double>& observed, const std::vector<double>& weights);
  double scaled(double value) const;
  double sample_number(Generator& random) const;
  const Kernel& pick(Generator& random) const;

  const Parameter* parameter_;
  double low_ = 0, high_ = 0;  // scaled, half a step beyond the ends where values are discrete
  std::vector<Kernel> kernels_;
  std::vector<double> probabilities_;  // of choices
};

}  // namespace moe::sweep
