#include "moe/eval/evaluator.h"

#include <ATen/Context.h>
#include <ATen/core/grad_mode.h>
#include <ATen/ops/tensor.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <limits>
#include <numeric>
#include <vector>

#include "moe/base/error.h"
#include "moe/base/random.h"
#include "moe/model/build.h"

namespace moe {
namespace {

constexpr std::int64_t kBlock = 8, kVocabulary = 11;

ModelConfig tiny_config(bool noise, std::int64_t experts = 4) {
  ModelConfig config;
  config.n_embed = 16;
  config.n_head = 2;
  config.n_layer = 2;
  config.block_size = kBlock;
  config.dropout = 0.5;  // must not matter
  config.moe.num_experts = experts;
  config.moe.top_k = std::min<std::int64_t>(2, experts);
  config.moe.noise_in_eval = noise;
  return config;
}

SparseMoELanguageModel tiny_model(bool noise = false, std::int64_t experts = 4) {
  SparseMoELanguageModel model(tiny_config(noise, experts), kVocabulary);
  initialise(model, 5);
  return model;
}

Tokens some_tokens(std::size_t count) {
  Generator draws(stream_key(9, "tokens"));
  Tokens tokens(count);
  for (auto& token : tokens) token = static_cast<std::int32_t>(draws.below(kVocabulary));
  return tokens;
}

/// Sum of the losses of `time` targets from `offset`, by one forward of one window [nats].
double window_loss(SparseMoELanguageModel& model, const Tokens& tokens, std::int64_t offset,
                   std::int64_t time, const ForwardContext& context) {
  const at::NoGradGuard no_grad;
  const std::vector<std::int64_t> ids(tokens.begin() + offset, tokens.begin() + offset + time + 1);
  const auto row = at::tensor(ids).unsqueeze(0);
  const auto out = model->forward(row.narrow(1, 0, time), row.narrow(1, 1, time), context);
  return out.loss.item<double>() * static_cast<double>(time);
}

/// Full mode, one window after another.
double reference_loss(SparseMoELanguageModel& model, const Tokens& tokens, std::uint64_t key,
                      std::int64_t step = kBlock) {
  const auto targets = static_cast<std::int64_t>(tokens.size()) - 1;
  double sum = 0;
  std::int64_t counted = 0;
  for (std::int64_t offset = 0; offset < targets; offset += step) {
    const auto time = std::min(kBlock, targets - offset);
    if (step > kBlock && time < kBlock) break;
    sum += window_loss(model, tokens, offset, time,
                       make_context(1, time, /*training=*/false, key, 0, offset));
    counted += time;
  }
  return sum / static_cast<double>(counted);
}

class FullEvaluation : public testing::TestWithParam<std::size_t> {};

TEST_P(FullEvaluation, CountsEachTargetOnceAndEqualsOneWindowAtATime) {
  const auto tokens = some_tokens(GetParam());
  for (const bool noise : {false, true}) {
    auto model = tiny_model(noise);
    const auto result = evaluate_full(model, tokens, 42);
    EXPECT_EQ(result.tokens, static_cast<std::int64_t>(tokens.size()) - 1);
    EXPECT_NEAR(result.loss, reference_loss(model, tokens, 42), 1e-5);
  }
}

// Shorter than a window; one; one and a bit; more than one forward, even and uneven.
INSTANTIATE_TEST_SUITE_P(Lengths, FullEvaluation,
                         testing::Values(2, 5, kBlock + 1, kBlock + 2, 80 * kBlock + 1,
                                         80 * kBlock + 6));

TEST(FullEvaluation, MaxWindowsTakesWholeWindowsSpreadEvenly) {
  auto model = tiny_model(/*noise=*/true);
  const auto tokens = some_tokens(40 * kBlock + 4);
  const auto result = evaluate_full(model, tokens, 42, 10);
  EXPECT_EQ(result.tokens, 10 * kBlock);
  EXPECT_NEAR(result.loss, reference_loss(model, tokens, 42, 4 * kBlock), 1e-5);
  EXPECT_EQ(evaluate_full(model, tokens, 42, 1000).loss, evaluate_full(model, tokens, 42).loss);
}

TEST(FullEvaluation, RepeatsExactlyAndTheKeyMattersOnlyWithNoise) {
  const auto tokens = some_tokens(300);
  auto plain = tiny_model(false), noisy = tiny_model(true);
  EXPECT_EQ(evaluate_full(noisy, tokens, 1).loss, evaluate_full(noisy, tokens, 1).loss);
  EXPECT_EQ(evaluate_full(plain, tokens, 1).loss, evaluate_full(plain, tokens, 2).loss);
  EXPECT_NE(evaluate_full(noisy, tokens, 1).loss, evaluate_full(noisy, tokens, 2).loss);
}

/// Its first window whole; of the others, `stride` apart, the last targets, and at the end the
/// rest.
double strided_reference(SparseMoELanguageModel& model, const Tokens& tokens, std::int64_t stride) {
  const auto targets = static_cast<std::int64_t>(tokens.size()) - 1;
  const auto first = [&](std::int64_t offset, std::int64_t time) {
    return window_loss(model, tokens, offset, time,
                       make_context(1, time, /*training=*/false, 42, 0, offset));
  };
  double sum = first(0, kBlock);
  for (std::int64_t done = kBlock; done < targets;) {
    const auto scored = std::min(stride, targets - done), offset = done + scored - kBlock;
    sum += first(offset, kBlock) - (scored < kBlock ? first(offset, kBlock - scored) : 0);
    done += scored;
  }
  return sum / static_cast<double>(targets);
}

class StridedEvaluation : public testing::TestWithParam<std::tuple<std::int64_t, std::size_t>> {};

TEST_P(StridedEvaluation, ScoresEachTargetOnceWithTheSymbolsBeforeIt) {
  const auto [stride, length] = GetParam();
  auto model = tiny_model();
  const auto tokens = some_tokens(length);
  const auto result = evaluate_strided(model, tokens, 42, stride);
  EXPECT_EQ(result.tokens, static_cast<std::int64_t>(length) - 1);
  EXPECT_NEAR(result.loss, strided_reference(model, tokens, stride), 1e-5);
  EXPECT_NE(result.loss, evaluate_full(model, tokens, 42).loss);
}

INSTANTIATE_TEST_SUITE_P(Strides, StridedEvaluation,
                         testing::Combine(testing::Values(1, 3, 4, 7),
                                          testing::Values(kBlock + 2, 40 * kBlock + 4)));

TEST(StridedEvaluation, IsTheFullOneIfWindowsTouchOrTheTextIsOneWindow) {
  auto model = tiny_model();
  const auto tokens = some_tokens(100), few = some_tokens(kBlock);
  EXPECT_EQ(evaluate_strided(model, tokens, 42, kBlock).loss,
            evaluate_full(model, tokens, 42).loss);
  EXPECT_EQ(evaluate_strided(model, few, 42, 3).loss, evaluate_full(model, few, 42).loss);
}

TEST(RandomEvaluation, EqualsOneDrawnWindowAtATime) {
  auto model = tiny_model(/*noise=*/true);
  const auto tokens = some_tokens(200);
  Generator draws(stream_key(6, "windows"));
  double sum = 0;
  for (std::int64_t draw = 0; draw < 90; ++draw) {
    const auto offset = static_cast<std::int64_t>(draws.below(200 - kBlock));
    sum += window_loss(model, tokens, offset, kBlock,
                       make_context(1, kBlock, /*training=*/false, 6, draw));
  }
  const auto result = evaluate_random(model, tokens, 6, 30, 3);
  EXPECT_EQ(result.tokens, 90 * kBlock);
  EXPECT_NEAR(result.loss, sum / (90 * kBlock), 1e-5);
}

TEST(RandomEvaluation, RepeatsForTheSameKeyAndDependsOnNothingElse) {
  auto model = tiny_model(/*noise=*/true);
  const auto tokens = some_tokens(200);
  const auto first = evaluate_random(model, tokens, 6, 5, 4);
  at::manual_seed(123);
  model->train();
  evaluate_full(model, tokens, 8);
  const auto again = evaluate_random(model, tokens, 6, 5, 4);
  EXPECT_EQ(first.loss, again.loss);
  EXPECT_EQ(first.expert_load, again.expert_load);
  EXPECT_NE(first.loss, evaluate_random(model, tokens, 7, 5, 4).loss);
}

TEST(RandomEvaluation, ATextOfOneWindowIsEnough) {
  auto model = tiny_model();
  const auto tokens = some_tokens(kBlock + 1);
  EXPECT_NEAR(evaluate_random(model, tokens, 6, 2, 2).loss, evaluate_full(model, tokens, 6).loss,
              1e-5);
}

TEST(Evaluation, LoadRowsSumToOne) {
  auto model = tiny_model();
  const auto load = evaluate_full(model, some_tokens(300), 1).expert_load;
  ASSERT_EQ(load.size(), 2U);
  for (const auto& row : load) {
    ASSERT_EQ(row.size(), 4U);
    EXPECT_NEAR(std::accumulate(row.begin(), row.end(), 0.0), 1, 1e-12);
  }
}

TEST(Evaluation, ADenseLayersLoadIsOne) {
  auto model = tiny_model(/*noise=*/false, /*experts=*/1);
  const auto load = evaluate_full(model, some_tokens(50), 1).expert_load;
  EXPECT_EQ(load, (std::vector<std::vector<double>>{{1.0}, {1.0}}));
}

TEST(Evaluation, ATextTooShortIsADataError) {
  auto model = tiny_model();
  EXPECT_THROW(evaluate_full(model, some_tokens(1), 1), DataError);
  EXPECT_THROW(evaluate_random(model, some_tokens(kBlock), 1, 1, 1), DataError);
}

TEST(Evaluation, AStopRequestInterrupts) {
  auto model = tiny_model();
  EXPECT_THROW(evaluate_full(model, some_tokens(50), 1, 0, [] { return 15; }), Interrupted);
}

TEST(Evaluation, ALossThatIsNotFiniteIsANumericsError) {
  auto model = tiny_model();
  const at::NoGradGuard no_grad;
  model->parameters().back().fill_(std::numeric_limits<float>::quiet_NaN());
  EXPECT_THROW(evaluate_full(model, some_tokens(50), 1), NumericsError);
}

TEST(LogProbabilities, OfTheTargetsMakeTheLossOfTheFirstWindow) {
  auto model = tiny_model();
  const auto tokens = some_tokens(kBlock + 1);
  const auto rows = log_probabilities(model, some_tokens(30), 3);  // begins as `tokens`
  ASSERT_EQ(rows.sizes(), (at::IntArrayRef{kBlock, kVocabulary}));
  double loss = 0;
  for (std::int64_t t = 0; t < kBlock; ++t)
    loss -= rows[t][tokens[static_cast<std::size_t>(t) + 1]].item<double>() / kBlock;
  EXPECT_NEAR(loss, evaluate_full(model, tokens, 3).loss, 1e-5);
}

TEST(LogProbabilities, OfAShortTextAreAsManyRowsAsSymbols) {
  auto model = tiny_model();
  EXPECT_EQ(log_probabilities(model, some_tokens(3), 3).size(0), 3);
}

}  // namespace
}  // namespace moe
