#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>

#include "moe/kernels/draws.h"
#include "moe/kernels/gradient_ledger.h"
#include "moe/kernels/workspace.h"
#include "moe/spec/balance.h"
#include "moe/spec/kinds.h"

namespace moe::kernels {

// Whole layers as single differentiable functions on the CPU, in float or double: forward and
// backward written out, from the norm to the residual (docs/adr/0011). Differentiable in x alone
// for autograd: backward writes or adds the parameters' gradients into their `.grad`, which spares
// a copy of them all. Frozen parameters (requires_grad false), any of them, get none. Shapes: B
// sequences, T positions, N = B*T, C n_embed, E num_experts, K top_k, S shared_experts, F expert
// width, V vocabulary.

struct NormParameters {
  at::Tensor weight, bias;  // (C); bias undefined for none
  double eps = 0;
  NormKind kind = NormKind::layer;
};
struct LinearParameters {
  at::Tensor weight, bias;  // (out, in), (out); bias undefined for none
};

/// How a layer runs, apart from its parameters.
struct LayerRun {
  RowIds rows;  // of the N tokens
  /// Tells who writes a gradient first in an update; null: all add to what is there.
  GradientLedger* gradients = nullptr;
  Workspace* workspace = nullptr;  // null: memory of its own
  /// Matrix products, apart from the router's, take operands rounded to bfloat16 and sum in float;
  /// of float layers alone, where has_bfloat16().
  bool bfloat16 = false;
  bool keeps_routing = false;  // MixtureResult::routing is wanted
};

/// Dropout in one place: its rate, 0 for none, and its draws.
struct DropoutDraws {
  double rate = 0;
  DrawKey key = {};
};

/// Normed rows of the last k positions of B sequences, (B, k, padded C), the newest last, zeros
/// before the first: what a convolution over k positions reads in decoding. Undefined: there is
/// none yet.
using RecentRows = at::Tensor;

/// x + dropout(proj(heads(conv(norm(x))))) with causal attention, x (B, T, C).
struct AttentionParameters {
  NormParameters norm;
  at::Tensor qkv;                 // (3, C, C): query, key, value
  NormParameters q_norm, k_norm;  // RMS, of each head's D values; weights (D), undefined for none
  at::Tensor angles;  // (T, D) cosines, then sines, of D/2 pairs; undefined: no rotation
  LinearParameters proj;
  std::int64_t heads;
  double score_scale;
  DropoutDraws weights_dropout, output_dropout;
  at::Tensor conv = {};  // (C, k): column j weighs the position j before; undefined: conv(x) = x
  /// Of a block behind the first: (1) how much of the first one's values its own take in. Those of
  /// the first are kept for them where it gives_values.
  at::Tensor value_lambda = {};
  bool gives_values = false;
};
struct SkipSources;  // skips.h
/// Keys and values of the positions that a layer has seen: keys (B, C, capacity), values
/// (B, capacity, C); and what its convolution has seen last.
struct KeyValues {
  at::Tensor keys, values;
  RecentRows recent = {};
};
/// Room for `positions` of B sequences, in x's precision; x (B, T, C).
KeyValues make_key_values(const at::Tensor& x, std::int64_t positions);

/// `cache`, where given, gets what there is of positions 0 to T - 1: for evaluation. `skips`, which
/// may be null without a value residual, are of the same forward.
at::Tensor attention_layer(const at::Tensor& x, const AttentionParameters& parameters,
                           const LayerRun& run, KeyValues* cache = nullptr,
                           const SkipSources* skips = nullptr);
/// Where a step's keys and values go in the cache, and how many positions, from the first place on,
/// there are with them.
struct CachePlace {
  std::int64_t place, filled;
};
/// The same for one new token of each sequence, x (B, 1, C), whose angles, if there are any, are
/// (1, D). Those before it are in the cache, and it joins them. No dropout, no gradients.
at::Tensor attention_step(const at::Tensor& x, const AttentionParameters& parameters,
                          const LayerRun& run, KeyValues& cache, CachePlace place,
                          const SkipSources* skips = nullptr);

/// x + sum over the K chosen experts of gate * dropout(expert(conv(norm(x)))), and of the S shared
/// ones without a gate or with one for all of them; x (B, T, C).
struct MixtureParameters {
  NormParameters norm;
  LinearParameters route, noise;  // undefined tensors for none: with E = 0; without noise
  /// (A, F, C), (A, F), (A, C, F), (A, C) of A = E + S experts, the shared ones last; with gated
  /// experts w1 (A, 2, F, C) and b1 (A, 2, F): gates, then what they weigh. Biases are undefined
  /// for none.
  at::Tensor w1, b1, w2, b2;
  Gate gate;
  bool gate_norm = true;  // sigmoid gates: over their sum
  double gate_scale = 1;  // sigmoid gates: then times this
  Activation activation = Activation::relu;
  std::int64_t top_k, capacity;  // capacity negative: none
  bool noisy = false;            // logits get noise
  DrawKey noise_draw;            // by these draws
  at::Tensor draws;              // or by these where defined: (N, E) standard normal
  DropoutDraws dropout;          // of the experts' answers
  BalanceSpec balance = {};      // side losses of this pass, and whether its choices are summed
  at::Tensor update_sums;   // (kBalanceSums, E) double of the whole update; undefined: this is it
  at::Tensor choice_bias;   // (E) added to the scores for the choice alone; undefined: none
  double jitter = 0;        // the router sees its input times 1 - jitter to 1 + jitter
  DrawKey jitter_draw;      // by these draws
  at::Tensor symbols;       // (N) int64 of the tokens, and
  at::Tensor hashed;        // (V, K) int32 the experts of each; undefined: the router chooses
  at::Tensor conv = {};     // (C, k) as attention's
  std::int64_t shared = 0;  // S
  LinearParameters shared_gate = {};  // weight (1, C), no bias; undefined for none

  std::int64_t experts() const { return w1.size(0) - shared; }  // E
};
/// Where N tokens go and with what weight, and what that was decided by.
struct Routing {
  at::Tensor gates;           // (N, K)
  at::Tensor experts;         // (N, K) int64, distinct within a row, in the order of the choice
  at::Tensor logits = {};     // (N, E) before noise
  at::Tensor noise_std = {};  // (N, E) of the router's noise, drawn or not; undefined: it has none
  at::Tensor noisy = {};      // (N, E) logits with the noise, of the composed modules alone
};
/// The side losses of a layer; undefined tensors where nothing asked for them.
struct SideLoss {
  at::Tensor loss = {};   // () weighted, to be minimised together with the cross-entropy
  at::Tensor terms = {};  // (kSideTerms) double: each without its weight
  at::Tensor sums = {};   // (kBalanceSums, E) double: over these tokens
};
struct MixtureResult {
  at::Tensor out;        // (B, T, C)
  at::Tensor load;       // (E) int64 on the CPU: tokens that each expert served
  Routing routing = {};  // if the run keeps it: in memory of its own, without gradients
  SideLoss side = {};    // if the parameters ask for it
};
/// A few tokens without dropout, capacity and gradients are taken one by one: decoding. `recent`,
/// where given, gets what the convolution has seen last; where it has that already, x (B, 1, C)
/// follows it.
MixtureResult mixture_layer(const at::Tensor& x, const MixtureParameters& parameters,
                            const LayerRun& run, RecentRows* recent = nullptr);

/// logits (N, V) = head(norm(x)) if they are wanted, and the mean cross-entropy of targets (N)
/// int64, over those that are not below 0, if they are defined; one of both at least. Without
/// logits no array of N * V values is made.
struct VocabularyResult {
  at::Tensor logits, loss;
};
VocabularyResult vocabulary_layer(const at::Tensor& x, const NormParameters& norm,
                                  const LinearParameters& head, const at::Tensor& targets,
                                  bool wants_logits, const LayerRun& run);

/// x (B, T, C) = tokens[ids] + positions[first_position + t]; ids (B, T) int64 in range. Without
/// positions (undefined) it is the first alone. Then dropout.
at::Tensor embedding_layer(const at::Tensor& ids, const at::Tensor& tokens,
                           const at::Tensor& positions, std::int64_t first_position,
                           const DropoutDraws& dropout, const LayerRun& run);

}  // namespace moe::kernels
