#pragma once

#include "common.cuh"

namespace moe::kernels::cuda {

/// to (W) = the sum over stretches of parts (stretches, stride), of which the first W columns are
/// read; added to what is there, or in its place. A lane adds every 32nd stretch, so that the order
/// follows from their number alone. Any grid; a block is whole warps, a warp a column.
template <class T>
__global__ void sum_stretches(const double* parts, Index stretches, Index stride, Index width,
                              bool adds, T* to) {
  for (Index c = grid_warp(); c < width; c += grid_warps()) {
    double sum = 0;
    for (Index s = lane_number(); s < stretches; s += kWarp) sum += parts[s * stride + c];
    sum = warp_sum(sum);
    if (lane_number() == 0) to[c] = (adds ? to[c] : T{0}) + static_cast<T>(sum);
  }
}

}  // namespace moe::kernels::cuda
