#pragma once

#include <string_view>

namespace moe::kernels {

/// The instruction set whose kernels run on this processor, e.g. "avx512".
std::string_view instruction_set();
/// Whether this processor multiplies operands rounded to bfloat16 (LayerRun::bfloat16).
bool has_bfloat16();

}  // namespace moe::kernels
