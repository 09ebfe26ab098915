#pragma once

#include <cstdint>
#include <unordered_map>
#include <vector>

#include "moe/data/corpus.h"
#include "moe/eval/split_batches.h"
#include "moe/model/language_model.h"

namespace moe {

/// What the choice of an expert tells about something, and the reverse [nats].
struct Information {
  std::int64_t tokens = 0;
  double entropy = 0;      // of the expert
  double information = 0;  // of expert and the other, the bias taken off; at least 0
  double bias = 0;         // what was taken off the plug-in estimate
  /// information / entropy, in [0, 1]; NaN where the entropy is 0.
  double share() const;
};

/// Counts of pairs of an expert and something else that a token has.
class PairCounts {
 public:
  void add(std::int64_t expert, std::int64_t value);
  /// I = H(expert) + H(value) - H(both) of the counted shares, each entropy with the correction of
  /// Miller (1955) and Madow: + (cells that occur - 1) / (2 tokens). Of no tokens all is NaN.
  Information information() const;

 private:
  std::unordered_map<std::uint64_t, std::int64_t> pairs_;
  std::unordered_map<std::int64_t, std::int64_t> experts_, values_;
  std::int64_t tokens_ = 0;
};

/// Of one layer: how much of a token's first choice, the expert with the largest gate, is known
/// from what else is known of the token.
struct RoutingInformation {
  Information symbol;    // its own
  Information previous;  // that before it; of tokens that the window shows one before
  Information next;      // its target
  Information position;  // its place in the window
};

/// (L). Counts whole tokens, since the correction is one of counts; the second choice and beyond
/// are left out. Of a layer without a router all is NaN.
std::vector<RoutingInformation> routing_information(SparseMoELanguageModel& model, TokenView tokens,
                                                    const SplitRequest& request);

}  // namespace moe
