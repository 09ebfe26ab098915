#include "moe/spec/vocabulary.h"

namespace moe {

std::optional<std::int64_t> count_runs(std::int64_t symbols, std::int64_t order) {
  std::int64_t count = 1;
  for (std::int64_t i = 0; i < order; ++i)
    if (__builtin_mul_overflow(count, symbols + 1, &count)) return std::nullopt;
  return count;
}

}  // namespace moe
