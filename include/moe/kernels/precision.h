#pragma once

#include <string_view>

namespace moe::kernels {

/// The instruction set whose kernels run on this processor, e.g. "avx512".
std::string_view instruction_set();
/// The one that training's matrix products take: with operands in bfloat16 it may be "avx512_bf16"
/// or "amx_bf16".
std::string_view product_instructions(bool bfloat16);
/// Whether this processor multiplies operands rounded to bfloat16 (LayerRun::bfloat16).
bool has_bfloat16();

}  // namespace moe::kernels
