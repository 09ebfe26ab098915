#pragma once

#include <array>
#include <cstdint>

#include "moe/spec/balance.h"

namespace moe::kernels {

// The side losses of one mixture layer as functions of sums over its tokens (docs/routing.md).
// Plain numbers: how sums are made and gradients handed on is the stage's (cpu/balance.h).

/// Sums over B windows of T tokens; shapes as cpu::Balance has them.
struct SideSums {
  std::int64_t windows, time, experts;
  const double* sums;         // (B, kBalanceSums, E)
  const double* log_squares;  // (B)
  /// (kBalanceSums, E) of the whole update that these tokens are a part of; null: they are all.
  const double* update;
};

/// d loss / d sum.
struct SideSlopes {
  double* probability;        // (B, E)
  double *importance, *load;  // (E)
  double square;              // of each token's logsumexp^2
};

using SideTerms = std::array<double, kSideTerms>;

/// The losses without their weights, the sums over all windows in `totals` (kBalanceSums, E), and
/// the slopes of the weighted loss. Of parts of an update the mean of their losses is the update's
/// loss, and the mean of their gradients its gradient.
SideTerms side_losses(const BalanceSpec& weights, const SideSums& tokens, double* totals,
                      SideSlopes& slopes);

double weighted(const BalanceSpec& weights, const SideTerms& terms);

}  // namespace moe::kernels
