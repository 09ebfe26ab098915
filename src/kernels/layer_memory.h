#pragma once

#include <cstdint>

#include "kernels/layer_call.h"
#include "moe/spec/model_spec.h"

namespace moe::kernels {

// What each layer takes of a workspace, counted by the code that lays its memory out. Each is to be
// called in the layers' own order, on Memory over a workspace that only counts.

/// One pass of B windows of T tokens.
struct PassShape {
  std::int64_t windows, time, width;
  bool keeps;  // forward leaves what backward reads

  std::int64_t tokens() const { return windows * time; }
};
enum class Direction { forward, backward };

void count_attention(const PassShape& pass, const AttentionSpec& spec, Direction direction,
                     Memory& memory);
void count_mixture(const PassShape& pass, const FeedForwardSpec& spec, Direction direction,
                   Memory& memory);
/// What blocks read past those before them, and how one of them takes it in (skips.h).
void count_skips(const ModelSpec& spec, const PassShape& pass, Memory& memory);
void count_entry(const ModelSpec& spec, const PassShape& pass, std::int64_t layer,
                 Direction direction, Memory& memory);
/// Without logits.
void count_vocabulary(const PassShape& pass, std::int64_t symbols, Direction direction,
                      Memory& memory);

}  // namespace moe::kernels
