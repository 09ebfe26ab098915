#pragma once

#include <cstdint>

namespace moe::kernels {

/// What changes from update to update.
enum UpdateValue : std::int64_t {
  kLearningRate,   // AdamW's, of a group whose scale is 1
  kStep,           // 1 for the first update
  kMomentum,       // Muon's
  kDecayScale,     // weight decays count times this
  kAverageWeight,  // of the new weights in their average: 0 leaves it as it is, 1 begins it
  kGradientScale,  // gradients count times this: clipping
  kIsSound,        // 1; 0 once a loss or gradient was not finite: from then on nothing moves
  kUpdateValues
};

}  // namespace moe::kernels
