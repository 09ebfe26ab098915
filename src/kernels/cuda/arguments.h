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

}  // namespace moe::kernels::cuda
