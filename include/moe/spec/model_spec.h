#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include "moe/spec/balance.h"
#include "moe/spec/kinds.h"
#include "moe/spec/vocabulary.h"

namespace moe {

// What a model is, without libtorch: every path reads it here, and nothing is computed from config
// keys a second time (docs/adr/0042). spec_of (moe/config/spec_of.h) makes it of a config.

struct NormSpec {
  NormKind kind;
  double eps;
  bool bias;
};

/// Probabilities of dropping a value in training, place by place.
struct DropoutSpec {
  double embedding;   // what enters the first block
  double attention;   // weights
  double residual;    // what attention adds to the stream
  double expert;      // what an expert answers
  double ngrams = 0;  // sums of n-gram tables' rows
};

struct AttentionSpec {
  std::int64_t heads, head_width;
  double scale;  // scores are multiplied by it
  bool bias;     // of the projection
  QkNorm qk_norm;
  double qk_gain;                     // that the gain of queries starts with
  std::optional<double> rotary_base;  // nullopt: positions do not rotate
  std::int64_t short_conv = 0;        // kernel of the convolution after its norm; 0: none
  // Of a value residual: the first block gives its values, the others mix them with their own; in
  // backward the last one is the first to have gradients for them.
  bool gives_values = false, mixes_values = false, begins_values = false;
};

/// A mixture, or, without experts to choose from, the shared ones alone: a plain MLP.
struct FeedForwardSpec {
  std::int64_t experts, top_k;
  std::int64_t width;  // of an expert's hidden layer
  RouterKind router;
  Gate gate;
  Activation activation;
  bool noise_in_eval;                     // router noise in evaluation too
  std::optional<double> capacity_factor;  // in training; nullopt: no limit
  bool bias;                              // of experts and router
  bool gate_norm = true;                  // sigmoid gates: over their sum
  double gate_scale = 1;                  // sigmoid gates: then times this
  double jitter = 0;  // in training the router sees x times 1 - jitter to 1 + jitter
  BalanceSpec balance = {};
  std::int64_t short_conv = 0;  // kernel of the convolution after its norm; 0: none
  std::int64_t shared = 0;      // experts of every token, besides those that are chosen
  bool shared_gate = false;     // the sum of their answers is weighed by a sigmoid

  bool has_router() const { return experts > 0; }
  /// Experts of both kinds; in stacked tensors the shared ones come last.
  std::int64_t all_experts() const { return experts + shared; }
  /// Slots of one token: of the experts that it chooses, then of the shared ones.
  std::int64_t token_slots() const { return top_k + shared; }

  /// Values that an expert's first Linear yields: of a gated activation gates, then the others.
  std::int64_t up_width() const { return is_gated(activation) ? 2 * width : width; }
};

/// x += attention(conv(norm(x))); x += feed_forward(conv(norm(x))).
struct LayerSpec {
  AttentionSpec attention;
  FeedForwardSpec feed_forward;
};

struct ModelSpec {
  std::int64_t vocab;    // V
  std::int64_t width;    // C, of the residual stream
  std::int64_t context;  // positions
  bool position_table;   // each has a learned row
  DropoutSpec dropout;
  Init init;
  std::optional<double> embedding_std;    // of the tables' normal draws; nullopt: as `init` says
  std::optional<double> router_init_std;  // of router weights; nullopt: as `init` says
  bool zero_outputs;                      // what is added to the residual stream starts as 0
  NormSpec norm;                          // every one
  bool bias;                              // of the last Linear
  bool tied;                              // the last Linear's weight is the token table
  std::vector<LayerSpec> layers;
  bool x0_shortcut = false;            // blocks read what enters the first again
  std::vector<NgramKeys> ngrams = {};  // of the tables whose rows blocks add

  /// Experts that a router chooses from, of the layer that has the most.
  std::int64_t most_experts() const;
  /// Symbols before a token that tell which rows it has.
  std::int64_t ngram_reach() const {
    std::int64_t most = 1;
    for (const auto& table : ngrams) most = table.order > most ? table.order : most;
    return most - 1;
  }
  /// Whether a block takes more into the stream than the block before it left there.
  bool reads_skips() const { return x0_shortcut || !ngrams.empty(); }
  bool has_value_residual() const { return layers.front().attention.gives_values; }
  Vocabulary vocabulary() const { return {vocab, ngrams}; }
  /// Whether a cache may go on beyond the context: keys hold no place in it.
  bool slides() const { return !position_table; }
};

/// Slots that an expert serves of `tokens` in training: int(N * K / E * capacity_factor), at least
/// 1; -1 if nothing is dropped.
std::int64_t expert_capacity(const FeedForwardSpec& spec, std::int64_t tokens);

}  // namespace moe
