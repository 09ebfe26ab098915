#pragma once

#include <cstdint>

namespace moe::kernels::cuda {

// Arguments of kernels as the host lays them out; tests hold them against the texts' own.

/// Draws of draws.cuh.
struct DrawArguments {
  const std::int64_t* sequence;  // (N)
  const std::int64_t* position;  // (N)
  const std::uint64_t* key;      // (1)
  std::uint32_t site;
};

/// Dropout of draws.cuh.
struct DropoutArguments {
  DrawArguments draws;
  std::uint32_t threshold;
  double scale;
};

/// AdamWMemory and AdamWConstants of optimizer.cuh.
struct AdamWArguments {
  void* parameters;  // (P) each
  const void* gradients;
  void *exp_avg, *exp_avg_sq;
};
struct AdamWConstantArguments {
  double learning_rate_scale, beta1, beta2, eps, weight_decay;
  bool cautious;
};
/// Values that one sum of squares takes, and threads that add the sums (optimizer.cuh).
inline constexpr std::int64_t kSquaresAtOnce = 65536;
inline constexpr std::uint32_t kSumThreads = 256;

}  // namespace moe::kernels::cuda
