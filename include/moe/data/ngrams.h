#pragma once

#include <cstdint>
#include <optional>

#include "moe/data/token_view.h"
#include "moe/spec/vocabulary.h"

namespace moe {

/// Which runs of symbols an n-gram table is to have rows for.
struct NgramRequest {
  std::int64_t order = 2;                // n
  std::int64_t min_count = 1;            // how often a run must stand in the text
  std::optional<std::int64_t> max_rows;  // the most frequent are kept
  std::int64_t window = 1;               // symbols of a window that a model sees
};

/// The runs that stand in `tokens` often enough. Those that begin before a window are met where one
/// begins, at one of `window` places: of these only that part of their number counts. Of equal ones
/// the first are kept. Ids are in [0, symbols). Takes 8 bytes a token meanwhile. Throws ConfigError
/// for an order that is too long for so many symbols, or none of whose runs is frequent enough.
NgramKeys find_ngrams(TokenView tokens, std::int64_t symbols, const NgramRequest& request);

}  // namespace moe
