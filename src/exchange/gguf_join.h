#pragma once

#include <span>
#include <string_view>
#include <vector>

#include "moe/exchange/gguf_model.h"

namespace moe {

/// The values of one of llama.cpp's tensors from those of ours, block after block of whole rows.
void join_pieces(const GgufPart& part, const PublishedValues& values, const ValueSink& sink);

/// The reverse: `joined` has all values of the tensor. Where ours has none, they have to be 0, and
/// CheckpointError, beginning with `where`, says so.
void split_pieces(const GgufPart& part, std::span<const float> joined, std::string_view where,
                  const PublishedRoom& room);

}  // namespace moe
