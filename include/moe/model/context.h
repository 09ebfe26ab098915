#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>

#include "moe/kernels/draws.h"
#include "moe/kernels/layers.h"

namespace moe {

/// How one forward draws, and in which mode. A forward reads nothing else that is random.
struct ForwardContext {
  bool training = false;  // dropout and capacity are on
  std::uint64_t key = 0;  // names stream and update; see moe::stream_key
  kernels::RowIds rows;   // of the N = B*T tokens, row-major (B, T)
  at::Tensor symbols;     // (N) int64 of the tokens, on their device; a forward fills it in
  at::Tensor noise;       // (L, N, E) router noise to use instead of drawing; undefined: draw
  kernels::Workspace* workspace = nullptr;  // of the fused layers; null: memory of their own
  bool keeps_routing = false;               // LmOutput::routing is wanted
  bool keeps_logits = true;  // LmOutput::logits are wanted besides the loss; some engines keep them
  /// Who writes a gradient first in this update; null: every backward adds to what is there.
  kernels::GradientLedger* gradients = nullptr;
  /// (L, kBalanceSums, E) double: what side losses read of the whole update, where this pass is a
  /// part of it; undefined: it is all.
  at::Tensor update_sums;
  /// (1) int64, the bits of `key` on a device (kernels::DrawKey); undefined: `key` says them.
  at::Tensor key_memory;
  bool bfloat16 = false;  // the fused layers' products round their operands (LayerRun)

  /// (kBalanceSums, E) of one layer, or undefined.
  at::Tensor update_sums_of(std::int64_t layer) const {
    return update_sums.defined() ? update_sums.select(0, layer) : at::Tensor();
  }
};

/// Rows of B windows of T: sequence first_sequence + b, position first_position + t. The workspace,
/// where given, is the context's and holds the rows.
ForwardContext make_context(std::int64_t batch, std::int64_t time, bool training, std::uint64_t key,
                            std::int64_t first_sequence = 0, std::int64_t first_position = 0,
                            kernels::Workspace* workspace = nullptr);

/// The context of positions [first, first + count) alone of B windows of T.
ForwardContext at_positions(const ForwardContext& context, std::int64_t batch, std::int64_t time,
                            std::int64_t first, std::int64_t count);

/// Which draw a site is for; each layer has its own of each.
enum class DrawKind : std::uint32_t {
  router_noise,
  attention_dropout,
  projection_dropout,
  expert_dropout,
  embedding_dropout,
  router_jitter,
  ngram_dropout
};

/// Kinds beyond the fourth begin anew, four at a time, above the sites of all layers: a new kind
/// leaves the numbers of the others, and so every draw of earlier runs, as they are.
inline kernels::DrawKey draw_key(const ForwardContext& context, std::int64_t layer, DrawKind kind) {
  constexpr std::uint32_t kKinds = 4, kSites = 1U << 24U;  // of one four: 2^22 layers
  const auto number = static_cast<std::uint32_t>(kind);
  return {context.key,
          number / kKinds * kSites + static_cast<std::uint32_t>(layer) * kKinds + number % kKinds,
          context.key_memory.defined() ? &context.key_memory : nullptr};
}

}  // namespace moe
