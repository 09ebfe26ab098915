#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>

namespace moe {

/// The mean over targets of losses that are means over batches.
class LossMean {
 public:
  void add(const at::Tensor& loss, std::int64_t targets) {
    sum_ += loss.item<double>() * static_cast<double>(targets);
    targets_ += targets;
  }
  double value() const { return sum_ / static_cast<double>(targets_); }
  std::int64_t targets() const { return targets_; }

 private:
  double sum_ = 0;  // [nats]
  std::int64_t targets_ = 0;
};

/// `loss`; throws NumericsError for one that is not finite.
double require_finite_loss(double loss);

}  // namespace moe
