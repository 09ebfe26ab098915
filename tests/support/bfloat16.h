#pragma once

#include <cstdlib>

namespace moe::test {

/// Products in bfloat16 wherever a test runs: in plain code where the processor has none. Read at
/// the first use, hence set before main begins.
inline const bool kBfloat16IsThere = setenv("MAKEMOE_EMULATE_BF16", "1", /*overwrite=*/1) == 0;

/// Operands lose 2^-9 of themselves in each product of a small model, one after another: relative
/// to the largest value, where no choice of expert and no relu flips. Three times the measured one.
constexpr double kBfloat16 = 5e-2;

}  // namespace moe::test
