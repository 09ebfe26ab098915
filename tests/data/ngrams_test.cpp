#include "moe/data/ngrams.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <map>
#include <vector>

#include "moe/base/error.h"
#include "moe/base/random.h"

namespace moe {
namespace {

using testing::ElementsAre;

constexpr std::int64_t kSymbols = 3;

/// How often each key stands in a text: a run that begins before a window at `window` times less.
std::map<std::vector<std::int32_t>, std::int64_t> counted(const Tokens& tokens, std::int64_t order,
                                                          std::int64_t window) {
  std::map<std::vector<std::int32_t>, std::int64_t> counts;
  const auto size = static_cast<std::int64_t>(tokens.size());
  for (std::int64_t outside = 0; outside < order; ++outside) {
    std::map<std::vector<std::int32_t>, std::int64_t> of_length;
    for (std::int64_t at = 0; at + order - outside <= size; ++at) {
      std::vector<std::int32_t> key(static_cast<std::size_t>(outside), kSymbols);
      key.insert(key.end(), tokens.begin() + at, tokens.begin() + at + order - outside);
      ++of_length[key];
    }
    for (const auto& [key, count] : of_length) counts[key] = outside > 0 ? count / window : count;
  }
  return counts;
}

Tokens random_text(std::size_t count) {
  Generator draws(stream_key(3, "ngrams"));
  Tokens tokens(count);
  for (auto& token : tokens) token = static_cast<std::int32_t>(draws.below(kSymbols));
  return tokens;
}

std::vector<std::vector<std::int32_t>> rows_of(const NgramKeys& keys) {
  std::vector<std::vector<std::int32_t>> rows;
  for (std::int64_t row = 0; row < keys.rows(); ++row) {
    const auto begin = keys.symbols.begin() + row * keys.order;
    rows.emplace_back(begin, begin + keys.order);
  }
  return rows;
}

TEST(Ngrams, AreTheRunsThatStandInTheTextOftenEnoughSorted) {
  const auto tokens = random_text(200);
  for (const std::int64_t order : {2, 3, 4})
    for (const std::int64_t least : {1, 3, 7}) {
      std::vector<std::vector<std::int32_t>> want;
      for (const auto& [key, count] : counted(tokens, order, 8))
        if (count >= least) want.push_back(key);
      const auto keys = find_ngrams(tokens, kSymbols, {order, least, {}, 8});
      EXPECT_EQ(rows_of(keys), want) << order << " at least " << least;
    }
}

TEST(Ngrams, OfTooManyTheMostFrequentAreKept) {
  // 01 stands 4 times, 12 and 20 thrice, 11 once; windows are too long for what begins before them.
  const Tokens tokens{0, 1, 2, 0, 1, 2, 0, 1, 2, 0, 1, 1};
  const auto kept = [&](std::int64_t rows) {
    return rows_of(find_ngrams(tokens, kSymbols, {2, 1, rows, 100}));
  };
  using Run = std::vector<std::int32_t>;
  EXPECT_THAT(kept(1), ElementsAre(Run{0, 1}));
  EXPECT_THAT(kept(2), ElementsAre(Run{0, 1}, Run{1, 2})) << "of equal ones the first";
  EXPECT_THAT(kept(9), ElementsAre(Run{0, 1}, Run{1, 1}, Run{1, 2}, Run{2, 0}));
}

TEST(Ngrams, ATableWithoutRowsIsRefused) {
  EXPECT_THROW(find_ngrams(random_text(20), kSymbols, {3, 1000, {}, 8}), ConfigError);
}

TEST(Ngrams, RunsThatNoNumberCountsAreRefused) {
  EXPECT_THROW(find_ngrams(Tokens{0, 1, 0, 1}, 1'000'000, {4, 1, {}, 4}), ConfigError);
}

}  // namespace
}  // namespace moe
