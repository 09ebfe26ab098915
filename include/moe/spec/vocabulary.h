#pragma once

#include <cstdint>
#include <optional>
#include <utility>
#include <vector>

namespace moe {

/// The keys of one n-gram table: runs of n symbols, each of which has a row.
struct NgramKeys {
  std::int64_t order = 0;  // n
  /// (R, n) ids, the oldest first, V for a place before the window; sorted, distinct.
  std::vector<std::int32_t> symbols = {};

  std::int64_t rows() const {
    return order == 0 ? 0 : static_cast<std::int64_t>(symbols.size()) / order;
  }
  bool operator==(const NgramKeys&) const = default;
};

/// What a text decides about a model: its symbols, and the keys of its n-gram tables.
struct Vocabulary {
  /// By a number alone, where there are no tables.
  Vocabulary(std::int64_t symbol_count, std::vector<NgramKeys> keys = {})
      : symbols(symbol_count), ngrams(std::move(keys)) {}

  std::int64_t symbols;  // V
  std::vector<NgramKeys> ngrams;
};

/// (V + 1)^n: of how many runs of n a key is one; nullopt if an int64 does not count them.
std::optional<std::int64_t> count_runs(std::int64_t symbols, std::int64_t order);
/// A run of n ids as a number: its digits in base V + 1, so that numbers are sorted as runs are.
template <class Id>
std::int64_t run_number(const Id* run, std::int64_t order, std::int64_t symbols) {
  std::int64_t number = 0;
  for (std::int64_t i = 0; i < order; ++i) number = number * (symbols + 1) + run[i];
  return number;
}

}  // namespace moe
