#pragma once

#include <cstdint>
#include <vector>

#include "moe/data/corpus.h"
#include "moe/eval/split_batches.h"
#include "moe/model/language_model.h"

namespace moe {

/// Kinds of targets whose losses are told apart: of each symbol of the vocabulary, its kind.
struct TargetKinds {
  std::int64_t count = 0;
  std::vector<std::int64_t> of = {};  // (V), each in [0, count)
};

/// By how much a loss rises [nats/token].
struct LossRise {
  double all = 0;
  std::vector<double> by_kind = {};  // (kinds); NaN of a kind that the split's targets lack
};

/// What a split's loss is without one expert of one layer. Shapes: L layers, E experts.
struct Ablation {
  std::int64_t tokens = 0;
  double loss = 0;                                // of the whole model [nats/token]
  std::vector<std::int64_t> tokens_by_kind = {};  // (kinds)
  std::vector<double> loss_by_kind = {};          // (kinds), likewise
  /// (L, E): where the expert can not be chosen and the next best takes over. NaN for a layer of
  /// one expert, which has no next best. Where all experts are chosen (K = E) there is none either:
  /// the gates of the others grow.
  std::vector<std::vector<LossRise>> masked = {};
  /// (L, E): where it is chosen and weighed as ever, and answers nothing.
  std::vector<std::vector<LossRise>> zeroed = {};
};

/// Runs each layer and what is above it 2 * E times for each batch, and what is below it once
/// (ADR 50): about E * (L + 1) evaluations of the split, and the vocabulary once more for each kind
/// of target. Changes the model's weights while it runs and leaves them as they were. Throws
/// NumericsError where the model's own loss is not finite.
Ablation ablate(SparseMoELanguageModel& model, TokenView tokens, const SplitRequest& request,
                const TargetKinds& kinds = {});

}  // namespace moe
