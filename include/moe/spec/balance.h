#pragma once

namespace moe {

// Without containers: the kernels of each processor level are compiled with this header.

/// Sums over tokens that side losses are functions of, each of every expert (E).
enum BalanceSum {
  kChoices,      // tokens that chose it, whatever a capacity dropped
  kImportance,   // gates
  kLoad,         // probabilities that it is chosen when the noise is drawn again
  kProbability,  // shares of the router's scores
  kBalanceSums
};
/// The losses themselves, before their weights.
enum SideTerm { kSwitchBatch, kSwitchSequence, kImportanceLoss, kLoadLoss, kZLoss, kSideTerms };

/// What keeps the experts of a mixture layer busy alike, and its logits small (docs/routing.md).
/// Weights of side losses, which training alone adds to the cross-entropy, and the step of a bias;
/// 0: it is not there.
struct BalanceSpec {
  double switch_batch = 0;     // Switch loss over a whole update
  double switch_sequence = 0;  // the same, window by window
  double importance_load = 0;  // of the importance loss and of the load loss
  double z_loss = 0;
  double bias_rate = 0;  // loss-free: how far an update moves each expert's bias

  constexpr double weight_of(SideTerm term) const {
    switch (term) {
      case kSwitchBatch:
        return switch_batch;
      case kSwitchSequence:
        return switch_sequence;
      case kImportanceLoss:
      case kLoadLoss:
        return importance_load;
      case kZLoss:
        return z_loss;
      case kSideTerms:
        break;
    }
    return 0;
  }
  constexpr bool has_losses() const {
    return switch_batch > 0 || switch_sequence > 0 || importance_load > 0 || z_loss > 0;
  }
  /// Whether a bias takes part in the choice.
  constexpr bool has_bias() const { return bias_rate > 0; }
  /// Whether a gradient depends on sums over the whole update, not over one batch of it alone.
  constexpr bool needs_whole_update() const { return switch_batch > 0 || importance_load > 0; }
};

}  // namespace moe
