#pragma once

#include <span>

namespace moe::kernels {

/// e^value in place of each value, within 2 ulp; 0 below -87.3.
void exponentials(std::span<float> values);

}  // namespace moe::kernels
