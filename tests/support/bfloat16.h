#pragma once

#include <cstdlib>

namespace moe::test {

/// Products in bfloat16 wherever a test runs: in plain code where the processor has none. Read at
/// the first use, hence set before main begins.
inline const bool kBfloat16IsThere = setenv("MAKEMOE_EMULATE_BF16", "1", /*overwrite=*/1) == 0;

/// Two operands rounded to 8 bits, 2^-9 each, in every product of a small model, one after another:
/// relative to the largest value. Five times what was measured.
constexpr double kBfloat16 = 5e-2;

}  // namespace moe::test
