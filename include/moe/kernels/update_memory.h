#pragma once

#include <ATen/core/Tensor.h>

#include "moe/kernels/update_values.h"

namespace moe::kernels {

/// The UpdateValues where they lie on a device, (kUpdateValues) double: an update that was recorded
/// once reads them anew each time that it is repeated. The host fills those before kGradientScale.
struct UpdateMemory {
  at::Tensor values;

  at::Tensor operator[](UpdateValue value) const {
    return values.select(0, static_cast<std::int64_t>(value));
  }
  /// `kept` becomes `moved` while all is sound.
  void keep(const at::Tensor& kept, const at::Tensor& moved) const;
};

/// What an update measures of itself, () double each on its device.
struct UpdateFigures {
  at::Tensor loss;   // before the update
  at::Tensor norm;   // of the gradients, before clipping
  at::Tensor sound;  // updates since the host set it to 0 whose loss and norm were finite
};

/// Says by the loss and the gradients (P) how much they are clipped, to a norm of max_norm, and
/// whether all is sound; counts the update if it is.
void judge_update(const at::Tensor& gradients, double max_norm, const UpdateFigures& figures,
                  const UpdateMemory& memory);

}  // namespace moe::kernels
