#pragma once

#include <cstdint>
#include <vector>

#include "moe/data/corpus.h"
#include "moe/eval/split_batches.h"
#include "moe/model/language_model.h"

namespace moe {

// How settled the routing of a run is, by its checkpoints (router saturation: Muennighoff et al.
// 2024, OLMoE, arXiv 2409.02060, eq. 7). Shapes: L layers, N tokens, E experts, K top_k.

/// What the routers of one checkpoint do with a split.
struct SplitChoices {
  std::int64_t tokens = 0, top_k = 0;
  std::vector<std::vector<std::int32_t>> experts;  // (L, N * K); none in layers without a router
  /// (L): the K-th largest logit less the one after it, before noise, mean over tokens: how far a
  /// choice is from another. NaN where all experts are chosen, or none.
  std::vector<double> margin;
};
SplitChoices split_choices(SparseMoELanguageModel& model, TokenView tokens,
                           const SplitRequest& request);

/// (L): the share of each token's experts in `a` that it has in `b` too, mean over tokens; NaN in
/// layers without a router. Both are of the same split and have the same K.
std::vector<double> shared_choices(const SplitChoices& a, const SplitChoices& b);

}  // namespace moe
