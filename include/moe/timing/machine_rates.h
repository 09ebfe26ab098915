#pragma once

#include <ATen/core/Tensor.h>

namespace moe {

/// What this machine can do at most, measured with libtorch's own operators on `device` and as many
/// threads as are set. Takes half a GiB for as long as it runs.
struct MachineRates {
  double product;  // of square float matrices of 1024 [FLOP/s]
  double memory;   // read and written by a copy that no cache holds whole [B/s]
};
MachineRates measure_machine(at::Device device);

}  // namespace moe
