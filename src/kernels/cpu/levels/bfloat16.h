#pragma once

// The float products of operands rounded to bfloat16 (MOE_BFLOAT16) alone: all else is taken from
// the processor's own level.

#include "kernels/cpu/levels/products.h"

namespace moe::kernels::cpu::MOE_LEVEL {

extern const Products<float> kProducts;
constinit const Products<float> kProducts = make_products<float>(MOE_LEVEL_NAME);

}  // namespace moe::kernels::cpu::MOE_LEVEL
