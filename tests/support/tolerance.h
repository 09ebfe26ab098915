#pragma once

// How far two computations of the same thing may lie apart. "Relative" is to the tensor's largest
// magnitude: max|a-b| / max|b|.

namespace moe::test {

/// In double only the order of sums differs: 1e-16 a step, times the few thousand steps of a small
/// model, with room for ten updates of AdamW, whose division by sqrt(v) enlarges small gradients.
constexpr double kDouble = 1e-9;

/// Logits in float: rounding 6e-8 through a few layers of short sums.
constexpr double kFloatLogits = 1e-5;

/// One loss in float: a mean over tokens, in which rounding averages out.
constexpr double kFloatLoss = 1e-6;

/// Losses of the first updates in float, before rounding has flipped a routing choice.
constexpr double kFloatEarlyLosses = 1e-5;
constexpr int kFloatEarlyUpdates = 5;

/// Later losses in float: a token near a tie may take another expert (1e-3 measured).
constexpr double kFloatLateLosses = 2e-2;

}  // namespace moe::test
