#pragma once

#include <cstdint>
#include <numeric>

#include "moe/data/corpus.h"

namespace moe::test {

/// Symbol t stands at place t, so that a window shows where it begins.
inline Tokens count_to(std::int64_t n) {
  Tokens tokens(static_cast<std::size_t>(n));
  std::iota(tokens.begin(), tokens.end(), 0);
  return tokens;
}

}  // namespace moe::test
