#pragma once

#include <span>
#include <string>
#include <vector>

#include "moe/exchange/foreign_tensors.h"

namespace moe {

// What the tensors of both formats are made of, and how messages show them.

/// The rows of one Linear of all heads of a layer whose names begin with `own`; `ours` is "query",
/// "key" or "value". `groups` of the heads are theirs, each of which may be several of ours.
std::vector<TensorPart> rows_of_heads(const ModelSpec& spec, const std::string& own,
                                      const char* ours, std::int64_t groups);

/// "(8, 512, 128)".
std::string shape_text(std::span<const std::int64_t> shape);

}  // namespace moe
