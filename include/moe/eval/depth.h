#pragma once

#include <cstdint>
#include <vector>

#include "moe/config/config.h"
#include "moe/data/corpus.h"
#include "moe/eval/split_batches.h"
#include "moe/model/language_model.h"

namespace moe {

// How good a model would be with less of it: losses of a split [nats/token]. Shapes: L layers, E
// experts.

/// The loss that the final norm and the head have with what stands in the residual stream so far
/// (nostalgebraist 2020, "interpreting GPT: the logit lens").
struct DepthLosses {
  std::int64_t tokens = 0;
  double embedding = 0;           // before the first layer
  std::vector<double> attention;  // (L) after the attention of each layer
  std::vector<double> mixture;    // (L) after its mixture; the last one is the model's loss
};
DepthLosses losses_by_depth(SparseMoELanguageModel& model, TokenView tokens,
                            const SplitRequest& request);

/// (E): the loss with 1, 2, ..., E experts for each token, whose gates are made for so many. The
/// one at the model's own top_k is the model's loss. `config` is the model's.
std::vector<double> losses_by_top_k(const SparseMoELanguageModel& model, const ModelConfig& config,
                                    TokenView tokens, const SplitRequest& request);

}  // namespace moe
