#pragma once

#include <cstdint>
#include <optional>
#include <tuple>
#include <vector>

#include "moe/config/field.h"

namespace moe {

/// Tables of n-grams: rows for the runs of symbols that end at a token.
struct NgramConfig {
  std::vector<std::int64_t> orders;
  std::int64_t min_count = 5;
  std::optional<std::int64_t> max_rows;
  double dropout = 0;

  static constexpr auto fields() {
    using C = NgramConfig;
    constexpr std::int64_t kMany = std::int64_t{1} << 30;
    return std::tuple{
        Field{"orders", &C::orders,
              "lengths n: each has a table with rows for runs of n symbols, and every block adds "
              "those of the runs that end at a token; []: none",
              between(2, 8)},
        Field{"min_count", &C::min_count,
              "how often a run must stand in the text to train on, to have a row",
              between(1, kMany)},
        Field{"max_rows", &C::max_rows,
              "rows of each table at the most, those of the most frequent runs; null: no limit",
              between(1, kMany)},
        Field{"dropout", &C::dropout,
              "probability of dropping a value of the sum of a token's rows, in training",
              between(0, 0.99)}};
  }
};
static_assert(table_is_complete<NgramConfig>);

}  // namespace moe
