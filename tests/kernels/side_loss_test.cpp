// Side losses as functions of sums: closed forms, slopes, and parts of an update.

#include "kernels/side_loss.h"

#include <gtest/gtest.h>

#include <array>
#include <cmath>
#include <functional>
#include <numeric>
#include <vector>

#include "moe/base/random.h"

namespace moe::kernels {
namespace {

/// In double: a few dozen additions.
constexpr double kRounding = 1e-12;
/// Of central differences with a step of 1e-6, whose truncation and rounding are each below.
constexpr double kStep = 1e-6, kDifference = 1e-7;

/// Sums over tokens, with room for what comes of them. E experts, K of them a token.
class Tokens {
 public:
  Tokens(std::int64_t windows, std::int64_t time, std::int64_t experts)
      : windows_(windows),
        time_(time),
        experts_(experts),
        sums(static_cast<std::size_t>(windows * kBalanceSums * experts)),
        squares(static_cast<std::size_t>(windows)),
        totals(static_cast<std::size_t>(kBalanceSums * experts)),
        probability(static_cast<std::size_t>(windows * experts)),
        importance(static_cast<std::size_t>(experts)),
        load(static_cast<std::size_t>(experts)) {}

  double& sum(std::int64_t window, BalanceSum row, std::int64_t expert) {
    return sums[static_cast<std::size_t>((window * kBalanceSums + row) * experts_ + expert)];
  }
  /// In one window, the same value for experts [first, first + count).
  void fill(std::int64_t window, BalanceSum row, double value, std::int64_t first,
            std::int64_t count) {
    for (std::int64_t e = first; e < first + count; ++e) sum(window, row, e) = value;
  }

  SideTerms losses(const BalanceSpec& weights, const std::vector<double>* update = nullptr) {
    const SideSums all{windows_,    time_,          experts_,
                       sums.data(), squares.data(), update != nullptr ? update->data() : nullptr};
    SideSlopes slopes{probability.data(), importance.data(), load.data(), 0};
    const auto terms = side_losses(weights, all, totals.data(), slopes);
    square_slope = slopes.square;
    return terms;
  }

 private:
  std::int64_t windows_, time_, experts_;

 public:
  std::vector<double> sums, squares, totals, probability, importance, load;
  double square_slope = 0;
};

constexpr BalanceSpec kAll{
    .switch_batch = 0.3, .switch_sequence = 0.5, .importance_load = 0.7, .z_loss = 0.11};

constexpr std::int64_t kSomeExperts = 8, kTopK = 2, kWindowTime = 12;

TEST(SideLosses, AnEvenLoadGivesOneAndZero) {
  Tokens tokens(1, kWindowTime, kSomeExperts);
  tokens.fill(0, kChoices, kWindowTime * kTopK / 8.0, 0, kSomeExperts);
  tokens.fill(0, kImportance, kWindowTime / 8.0, 0, kSomeExperts);
  tokens.fill(0, kLoad, 3, 0, kSomeExperts);
  tokens.fill(0, kProbability, kWindowTime / 8.0, 0, kSomeExperts);
  const auto terms = tokens.losses(kAll);
  // A share that summed to K, not to 1, would give K.
  EXPECT_NEAR(terms[kSwitchBatch], 1, kRounding);
  EXPECT_NEAR(terms[kSwitchSequence], 1, kRounding);
  EXPECT_NEAR(terms[kImportanceLoss], 0, kRounding);
  EXPECT_NEAR(terms[kLoadLoss], 0, kRounding);
}

TEST(SideLosses, ACollapsedLoadGivesExpertsOverChoices) {
  Tokens tokens(1, kWindowTime, kSomeExperts);
  tokens.fill(0, kChoices, kWindowTime, 0, kTopK);
  tokens.fill(0, kImportance, kWindowTime / 2.0, 0, kTopK);
  tokens.fill(0, kLoad, kWindowTime, 0, kTopK);
  tokens.fill(0, kProbability, kWindowTime / 2.0, 0, kTopK);
  const auto terms = tokens.losses(kAll);
  EXPECT_NEAR(terms[kSwitchBatch], 4, kRounding);
  EXPECT_NEAR(terms[kSwitchSequence], 4, kRounding);
  // K values of E are x, the others 0: variance over squared mean is E / K - 1. The mean is 3, so
  // that the 1e-10 beside its square is 1e-11 of it.
  EXPECT_NEAR(terms[kImportanceLoss], 3, 1e-9);
  EXPECT_NEAR(terms[kLoadLoss], 3, 1e-9);
}

TEST(SideLosses, WindowsThatCollapseApartAreEvenAsABatchAndNotAsSequences) {
  constexpr std::int64_t kApart = kSomeExperts / kTopK;
  Tokens tokens(kApart, kWindowTime, kSomeExperts);
  for (std::int64_t w = 0; w < kApart; ++w) {
    tokens.fill(w, kChoices, kWindowTime, w * kTopK, kTopK);
    tokens.fill(w, kProbability, kWindowTime / 2.0, w * kTopK, kTopK);
  }
  const auto terms = tokens.losses(kAll);
  EXPECT_NEAR(terms[kSwitchBatch], 1, kRounding);
  EXPECT_NEAR(terms[kSwitchSequence], 4, kRounding);
}

TEST(SideLosses, NothingIsDividedByASumOfZero) {
  Tokens tokens(1, kWindowTime, kSomeExperts);
  tokens.fill(0, kChoices, 3, 0, kSomeExperts);
  const auto terms = tokens.losses(kAll);
  EXPECT_EQ(terms[kImportanceLoss], 0);
  EXPECT_EQ(terms[kLoadLoss], 0);
  for (const auto slope : tokens.importance) EXPECT_EQ(slope, 0);
}

/// Any sums, the same for the same seed.
Tokens some_tokens(std::uint64_t seed, std::int64_t windows) {
  Generator draws(seed);
  Tokens tokens(windows, kWindowTime, 5);
  for (auto& value : tokens.sums) value = 1 + static_cast<double>(draws.below(9));
  for (auto& value : tokens.squares) value = draws.uniform();
  return tokens;
}

/// The slopes that the losses tell against central differences of the weighted loss.
void expect_slopes(Tokens& tokens, const std::vector<double>* others, double factor) {
  const auto loss = [&] {
    auto update = tokens.sums;  // of one window
    if (others == nullptr) return weighted(kAll, tokens.losses(kAll));
    for (std::size_t i = 0; i < update.size(); ++i) update[i] += (*others)[i];
    return weighted(kAll, tokens.losses(kAll, &update));
  };
  const auto difference = [&](double& value) {
    const auto before = value;
    value = before + kStep;
    const auto above = loss();
    value = before - kStep;
    const auto below = loss();
    value = before;
    return (above - below) / (2 * kStep);
  };
  loss();
  const auto importance = tokens.importance, load = tokens.load, probability = tokens.probability;
  for (std::int64_t e = 0; e < 5; ++e) {
    const auto i = static_cast<std::size_t>(e);
    EXPECT_NEAR(importance[i], factor * difference(tokens.sum(0, kImportance, e)), kDifference);
    EXPECT_NEAR(load[i], factor * difference(tokens.sum(0, kLoad, e)), kDifference);
    EXPECT_NEAR(probability[i], difference(tokens.sum(0, kProbability, e)), kDifference);
  }
  EXPECT_NEAR(tokens.square_slope, difference(tokens.squares[0]), kDifference);
}

TEST(SideLosses, SlopesEqualCentralDifferences) {
  auto tokens = some_tokens(1, 1);
  expect_slopes(tokens, nullptr, 1);
}

TEST(SideLosses, SlopesOfAPartAreThoseOfTheUpdateTimesTheNumberOfParts) {
  auto tokens = some_tokens(1, 1);
  // The other parts route three times as many choices.
  auto others = some_tokens(2, 1).sums;
  const auto choices = std::accumulate(tokens.sums.begin(), tokens.sums.begin() + 5, 0.0);
  const auto theirs = std::accumulate(others.begin(), others.begin() + 5, 0.0);
  for (std::size_t e = 0; e < 5; ++e) others[e] *= 3 * choices / theirs;
  expect_slopes(tokens, &others, 4);
}

TEST(SideLosses, TheMeanOverPartsIsTheLossOfTheWhole) {
  auto whole = some_tokens(3, 4);
  // Every window routes as many choices.
  for (std::int64_t w = 0; w < 4; ++w)
    for (std::int64_t e = 0; e < 5; ++e)
      whole.sum(w, kChoices, e) = static_cast<double>((e * e + w * e) % 5 + 1);
  for (std::int64_t w = 0; w < 4; ++w) {
    double all = 0;
    for (std::int64_t e = 0; e < 5; ++e) all += whole.sum(w, kChoices, e);
    for (std::int64_t e = 0; e < 5; ++e) whole.sum(w, kChoices, e) *= 24 / all;
  }
  const auto want = whole.losses(kAll);
  SideTerms mean{};
  for (std::int64_t w = 0; w < 4; ++w) {
    Tokens part(1, kWindowTime, 5);
    std::copy_n(whole.sums.begin() + w * kBalanceSums * 5, kBalanceSums * 5, part.sums.begin());
    part.squares[0] = whole.squares[static_cast<std::size_t>(w)];
    const auto terms = part.losses(kAll, &whole.totals);
    for (std::size_t i = 0; i < mean.size(); ++i) mean[i] += terms[i] / 4;
  }
  for (std::size_t i = 0; i < mean.size(); ++i) EXPECT_NEAR(mean[i], want[i], kRounding) << i;
}

}  // namespace
}  // namespace moe::kernels
