#pragma once

#include <ATen/core/Tensor.h>

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

/// These where they lie on a device, (kUpdateValues) double: an update that was recorded once reads
/// them anew each time that it is repeated. The host fills those before kGradientScale.
struct UpdateMemory {
  at::Tensor values;

  at::Tensor operator[](UpdateValue value) const {
    return values.select(0, static_cast<std::int64_t>(value));
  }
  /// `kept` becomes `moved` while all is sound.
  void keep(const at::Tensor& kept, const at::Tensor& moved) const;
};

}  // namespace moe::kernels
