#include "moe/sample/sampler.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <functional>
#include <limits>
#include <set>
#include <string>
#include <vector>

#include "moe/base/error.h"
#include "moe/base/random.h"

namespace moe {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

const std::vector<float> kLogits{0.5F, 2.0F, -1.0F, 1.5F, 2.0F, -3.0F};

/// Every token that some u of a fine grid chooses.
std::set<std::int32_t> reachable(const std::vector<float>& logits, const SamplerOptions& options,
                                 const std::vector<std::int32_t>& seen = {}) {
  std::set<std::int32_t> tokens;
  for (int i = 0; i < 10000; ++i) tokens.insert(choose_token(logits, seen, options, i / 10000.0));
  return tokens;
}

TEST(Sampler, TemperatureZeroIsArgmaxWithTheLowestIdOnTies) {
  SamplerOptions options;
  options.temperature = 0;
  EXPECT_THAT(reachable(kLogits, options), ElementsAre(1));
}

TEST(Sampler, TopKOneIsArgmaxWithTheLowestIdOnTies) {
  SamplerOptions options;
  options.top_k = 1;
  EXPECT_THAT(reachable(kLogits, options), ElementsAre(1));
}

TEST(Sampler, TopKKeepsExactlyKAndLowerIdsOnTies) {
  SamplerOptions options;
  options.top_k = 2;
  EXPECT_THAT(reachable({1, 1, 1, 1}, options), ElementsAre(0, 1));
}

TEST(Sampler, TopKBeyondTheVocabularyIsAll) {
  SamplerOptions all, beyond;
  beyond.top_k = 1000;
  for (int i = 0; i < 1000; ++i)
    EXPECT_EQ(choose_token(kLogits, {}, all, i / 1000.0),
              choose_token(kLogits, {}, beyond, i / 1000.0));
}

TEST(Sampler, TopPKeepsTheSmallestSetWithThatMass) {
  const std::vector<float> logits{std::log(0.2F), std::log(0.5F), std::log(0.3F)};
  SamplerOptions options;
  options.top_p = 0.45;
  EXPECT_THAT(reachable(logits, options), ElementsAre(1));
  options.top_p = 0.6;
  EXPECT_THAT(reachable(logits, options), ElementsAre(1, 2));
  options.top_p = 0.9;
  EXPECT_THAT(reachable(logits, options), ElementsAre(0, 1, 2));
  options.top_p = 1e-300;
  EXPECT_THAT(reachable(logits, options), ElementsAre(1));
}

TEST(Sampler, MinPKeepsThatFractionOfTheLargestProbability) {
  const std::vector<float> logits{std::log(0.1F), std::log(0.6F), std::log(0.3F)};
  SamplerOptions options;
  options.min_p = 0.4;
  EXPECT_THAT(reachable(logits, options), ElementsAre(1, 2));
  options.min_p = 1;
  EXPECT_THAT(reachable(logits, options), ElementsAre(1));
}

TEST(Sampler, ARepetitionPenaltyLowersSeenTokensOfEitherSignOnce) {
  SamplerOptions options;
  options.temperature = 0;
  options.repetition_penalty = 2;
  EXPECT_EQ(choose_token(std::vector<float>{3, 2, 1}, std::vector<std::int32_t>{0}, options, 0), 1);
  EXPECT_EQ(choose_token(std::vector<float>{-1, -1.5F}, std::vector<std::int32_t>{0}, options, 0),
            1);
  // Seen twice, 3 becomes 1.5, not 0.75.
  EXPECT_EQ(choose_token(std::vector<float>{3, 1}, std::vector<std::int32_t>{0, 0}, options, 0), 0);
}

TEST(Sampler, FrequenciesMatchTheSoftmax) {
  SamplerOptions options;
  options.temperature = 0.8;
  std::vector<double> expected, counts(kLogits.size(), 0);
  double total = 0;
  for (const float logit : kLogits) total += expected.emplace_back(std::exp(logit / 0.8));
  constexpr int kDraws = 100000;
  Generator draws(stream_key(1, "test"));
  for (int i = 0; i < kDraws; ++i)
    ++counts[static_cast<std::size_t>(choose_token(kLogits, {}, options, draws.uniform()))];
  double chi_square = 0;
  for (std::size_t id = 0; id < counts.size(); ++id) {
    const double mean = kDraws * expected[id] / total;
    chi_square += (counts[id] - mean) * (counts[id] - mean) / mean;
  }
  EXPECT_LT(chi_square, 20.5);  // 5 degrees of freedom, p = 0.001
}

TEST(Sampler, ExtremeLogitsTemperaturesAndPenaltiesChooseTheLargest) {
  SamplerOptions options;
  options.temperature = 1e-300;
  EXPECT_THAT(reachable({-3e38F, 3e38F, 0}, options), ElementsAre(1));
  options.repetition_penalty = 1e308;
  EXPECT_THAT(reachable({-3e38F, -3e38F}, options, {0, 1}), ElementsAre(0, 1));
}

TEST(Sampler, LogitsThatAreNotFiniteAreANumericsError) {
  for (const float bad :
       {std::numeric_limits<float>::quiet_NaN(), std::numeric_limits<float>::infinity()})
    EXPECT_THROW(choose_token(std::vector<float>{0, bad}, {}, {}, 0.5), NumericsError);
}

struct BadOption {
  std::string name;
  std::function<void(SamplerOptions&)> set;
};

class SamplerRefuses : public testing::TestWithParam<BadOption> {};

TEST_P(SamplerRefuses, AnOptionOutsideItsRangeByName) {
  SamplerOptions options;
  GetParam().set(options);
  try {
    check_sampler_options(options);
    FAIL() << "accepted";
  } catch (const ConfigError& error) {
    EXPECT_THAT(error.what(), HasSubstr(GetParam().name));
  }
}

constexpr double kNan = std::numeric_limits<double>::quiet_NaN();
constexpr double kInf = std::numeric_limits<double>::infinity();
using O = SamplerOptions;

INSTANTIATE_TEST_SUITE_P(
    Table, SamplerRefuses,
    testing::Values(BadOption{"temperature", [](O& o) { o.temperature = -0.1; }},
                    BadOption{"temperature", [](O& o) { o.temperature = 1e-320; }},
                    BadOption{"temperature", [](O& o) { o.temperature = 1e7; }},
                    BadOption{"top_p", [](O& o) { o.top_p = 1e-50; }},
                    BadOption{"min_p", [](O& o) { o.min_p = 1e-50; }},
                    BadOption{"repetition_penalty", [](O& o) { o.repetition_penalty = 1e-3; }},
                    BadOption{"repetition_penalty", [](O& o) { o.repetition_penalty = 1e3; }},
                    BadOption{"temperature", [](O& o) { o.temperature = kNan; }},
                    BadOption{"temperature", [](O& o) { o.temperature = kInf; }},
                    BadOption{"top_k", [](O& o) { o.top_k = -1; }},
                    BadOption{"top_p", [](O& o) { o.top_p = 0; }},
                    BadOption{"top_p", [](O& o) { o.top_p = 1.01; }},
                    BadOption{"top_p", [](O& o) { o.top_p = kNan; }},
                    BadOption{"min_p", [](O& o) { o.min_p = -0.01; }},
                    BadOption{"min_p", [](O& o) { o.min_p = 1.01; }},
                    BadOption{"min_p", [](O& o) { o.min_p = kNan; }},
                    BadOption{"repetition_penalty", [](O& o) { o.repetition_penalty = 0; }},
                    BadOption{"repetition_penalty", [](O& o) { o.repetition_penalty = kNan; }}));

TEST(Sampler, DefaultsAndBoundsAreAccepted) {
  EXPECT_NO_THROW(check_sampler_options({}));
  EXPECT_NO_THROW(check_sampler_options({0, 1000, 1e-9, 1, 0.5}));
}

}  // namespace
}  // namespace moe
