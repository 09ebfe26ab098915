#include "moe/sample/generator.h"

#include <ATen/core/grad_mode.h>
#include <ATen/ops/tensor.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cstddef>
#include <limits>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "moe/base/error.h"
#include "moe/base/random.h"
#include "moe/base/text.h"
#include "moe/data/bpe_training.h"
#include "moe/model/build.h"

namespace moe {
namespace {

using testing::HasSubstr;
using testing::Not;

constexpr std::int64_t kBlock = 16;

ModelConfig tiny_config(bool noise) {
  ModelConfig config;
  config.n_embed = 16;
  config.n_head = 2;
  config.n_layer = 2;
  config.block_size = kBlock;
  config.moe.num_experts = 4;
  config.moe.noise_in_eval = noise;
  return config;
}

/// A model with fresh weights over a vocabulary that has a symbol of two bytes.
struct World {
  explicit World(bool noise = false, Tokenizer of = CharTokenizer::from_text("abcdefgh \n\u00e9"))
      : tokenizer(std::move(of)), model(tiny_config(noise), tokenizer.vocab_size()) {
    initialise(model, 7);
  }

  std::vector<Sample> run(const GenerateOptions& options, const Stream& stream = {}) {
    return generate(model, tokenizer, tokenizer.encode(prompt, "prompt"), options, stream);
  }

  /// The tokens of one sample by the plain way: each from its whole window, nothing kept.
  std::vector<std::int32_t> recomputed(const GenerateOptions& options, std::int64_t sample) {
    const at::NoGradGuard no_grad;
    Generator draws(stream_key(options.seed, "sample", static_cast<std::uint64_t>(sample)));
    auto tokens = tokenizer.encode(prompt, "prompt");
    const auto begin = static_cast<std::ptrdiff_t>(tokens.size());
    for (std::int64_t i = 0; i < options.max_new_tokens; ++i) {
      const auto total = static_cast<std::int64_t>(tokens.size()), time = std::min(total, kBlock);
      const auto ids =
          at::tensor(std::vector<std::int64_t>(tokens.end() - time, tokens.end())).view({1, time});
      const auto logits = model->last_logits(
          ids, make_context(1, time, /*training=*/false, stream_key(options.seed, "generate"),
                            sample, total - time));
      const std::span values(logits.const_data_ptr<float>(),
                             static_cast<std::size_t>(logits.numel()));
      tokens.push_back(choose_token(values, tokens, options.sampler, draws.uniform()));
    }
    return {tokens.begin() + begin, tokens.end()};
  }

  Tokenizer tokenizer;
  SparseMoELanguageModel model;
  std::string prompt = "abc";
};

GenerateOptions options_of(std::int64_t tokens, std::int64_t samples = 1) {
  GenerateOptions options;
  options.max_new_tokens = tokens;
  options.num_samples = samples;
  options.seed = 3;
  return options;
}

struct Case {
  bool noise;
  std::string prompt;
};

class Cached : public testing::TestWithParam<Case> {};

TEST_P(Cached, EqualsRecomputedTokensAcrossTheWindowBoundary) {
  World world(GetParam().noise);
  world.prompt = GetParam().prompt;
  const auto options = options_of(3 * kBlock, 2);
  const auto cached = world.run(options);
  ASSERT_EQ(cached.size(), 2U);
  for (std::size_t i = 0; i < cached.size(); ++i) {
    EXPECT_EQ(cached[i].token_ids, world.recomputed(options, static_cast<std::int64_t>(i)))
        << "sample " << i;
    EXPECT_EQ(cached[i].token_ids.size(), 3U * kBlock);
  }
}

INSTANTIATE_TEST_SUITE_P(Prompts, Cached,
                         testing::Values(Case{false, "a"}, Case{true, "a"}, Case{true, "abc"},
                                         Case{true, "abcdefghabcdefgh"},  // the whole window
                                         Case{false, "abcdefgh abcdefgh abcdefgh"},
                                         Case{true, "abcdefgh abcdefgh abcdefgh"}));

TEST(Generate, SampleIDoesNotDependOnHowManyThereAre) {
  World world(/*noise=*/true);
  const auto six = world.run(options_of(40, 6));  // more than are decoded one by one
  for (std::int64_t count = 1; count <= 5; ++count) {
    const auto fewer = world.run(options_of(40, count));
    for (std::size_t i = 0; i < fewer.size(); ++i)
      EXPECT_EQ(fewer[i].token_ids, six[i].token_ids) << "sample " << i << " of " << count;
  }
  EXPECT_NE(six[0].token_ids, six[1].token_ids);
}

TEST(Generate, MoreSamplesThanOneGroupHoldsAreAllMade) {
  World world(/*noise=*/true);
  const auto many = world.run(options_of(4, 67));
  ASSERT_EQ(many.size(), 67U);
  EXPECT_EQ(many[0].token_ids, world.run(options_of(4, 1))[0].token_ids);
  EXPECT_NE(many[66].token_ids, many[2].token_ids);
}

TEST(Generate, TheTextIsTheTokensText) {
  World world;
  const auto sample = world.run(options_of(50)).front();
  EXPECT_EQ(sample.text, world.tokenizer.decode(sample.token_ids));
  EXPECT_EQ(sample.finish, "length");
}

TEST(Generate, AStopTextAcrossTokensEndsTheSampleBeforeIt) {
  World world;
  const auto whole = world.run(options_of(50)).front();
  auto options = options_of(50);
  const auto stop = world.tokenizer.decode(std::span(whole.token_ids).subspan(20, 4));
  options.stop = {stop, "not in it"};
  std::string streamed;
  const auto sample = world
                          .run(options,
                               [&](std::string_view text) {
                                 streamed += text;
                                 return true;
                               })
                          .front();
  EXPECT_EQ(sample.finish, "stop");
  EXPECT_EQ(sample.text, whole.text.substr(0, whole.text.find(stop)));
  EXPECT_EQ(sample.text, world.tokenizer.decode(sample.token_ids));
  EXPECT_EQ(streamed, sample.text);
}

TEST(Generate, OneSampleThatStopsLeavesTheOthersAsTheyWere) {
  World world;
  const auto whole = world.run(options_of(40, 3));
  auto options = options_of(40, 3);
  options.stop = {world.tokenizer.decode(std::span(whole[1].token_ids).subspan(5, 4))};
  const auto stopped = world.run(options);
  EXPECT_EQ(stopped[1].finish, "stop");
  EXPECT_THAT(stopped[1].text, Not(HasSubstr(options.stop[0])));
  for (const std::size_t i : {0U, 2U})
    EXPECT_EQ(stopped[i].text, whole[i].text.substr(0, whole[i].text.find(options.stop[0])));
}

TEST(Generate, TheStreamGivesAllTheTextAndMayEndEarly) {
  World world;
  std::string streamed;
  const auto all = world.run(options_of(30), [&](std::string_view text) {
    streamed += text;
    return true;
  });
  EXPECT_EQ(streamed, all[0].text);
  const auto one = world.run(options_of(30), [](std::string_view) { return false; });
  EXPECT_EQ(one[0].token_ids.size(), 1U);
}

TEST(Generate, NoNewTokensIsAnEmptyContinuation) {
  World world;
  const auto samples = world.run(options_of(0, 2));
  ASSERT_EQ(samples.size(), 2U);
  EXPECT_EQ(samples[1].text, "");
  EXPECT_EQ(samples[1].finish, "length");
}

TEST(Generate, BadOptionsAreRefused) {
  World world;
  EXPECT_THROW(world.run(options_of(-1)), ConfigError);
  EXPECT_THROW(world.run(options_of(1, 0)), ConfigError);
  auto options = options_of(1);
  options.stop = {""};
  EXPECT_THROW(world.run(options), ConfigError);
}

TEST(Generate, AStopRequestInterrupts) {
  World world;
  int asked = 0;
  const auto prompt = world.tokenizer.encode("a", "prompt");
  EXPECT_THROW(generate(world.model, world.tokenizer, prompt, options_of(50), {},
                        [&] { return ++asked == 3 ? 2 : 0; }),
               Interrupted);
  EXPECT_EQ(asked, 3);
}

TEST(Generate, DamagedWeightsAreANumericsError) {
  World world;
  const at::NoGradGuard no_grad;
  world.model->parameters().back().fill_(std::numeric_limits<float>::quiet_NaN());
  EXPECT_THROW(world.run(options_of(1)), NumericsError);
}

/// Of the 256 bytes and "<|endoftext|>", which is as likely as `bias` makes it.
World world_of_bytes(double bias = 0) {
  World world(/*noise=*/false, BpeTokenizer(train_bpe(ChunkCounts(), {.vocab_size = 257})));
  const at::NoGradGuard no_grad;
  world.model->named_parameters()["lm_head.bias"][*world.tokenizer.end_id()] = bias;
  return world;
}

TEST(GenerateBytes, TheTextIsTheirsAndTheStreamNeverCutsACharacter) {
  auto world = world_of_bytes(/*bias=*/-1e3);
  std::string streamed;
  const auto sample = world
                          .run(options_of(300),
                               [&](std::string_view text) {
                                 EXPECT_TRUE(is_utf8(text));
                                 streamed += text;
                                 return true;
                               })
                          .front();
  EXPECT_EQ(sample.token_ids.size(), 300U);
  EXPECT_EQ(sample.text, world.tokenizer.decode(sample.token_ids));
  EXPECT_EQ(streamed, sample.text);
  for (const auto& one : world.run(options_of(60, 20)))
    EXPECT_EQ(one.text, world.tokenizer.decode(one.token_ids)) << "also if it ends in a character";
}

TEST(GenerateBytes, TheEndOfATextEndsASampleAndIsNotShown) {
  auto world = world_of_bytes(/*bias=*/3);
  const auto samples = world.run(options_of(300, 8));
  for (const auto& sample : samples) {
    EXPECT_EQ(sample.finish, "stop");
    EXPECT_EQ(sample.token_ids.back(), world.tokenizer.end_id());
    EXPECT_EQ(std::ranges::count(sample.token_ids, *world.tokenizer.end_id()), 1);
    EXPECT_EQ(sample.text, world.tokenizer.decode(sample.token_ids, SpecialText::ordinary));
    EXPECT_THAT(sample.text, Not(HasSubstr(kEndOfText)));
  }
}

TEST(GenerateBytes, OnRequestSpecialTokensAreShownAndEndNothing) {
  auto world = world_of_bytes(/*bias=*/3);
  auto options = options_of(300, 2);
  options.specials = true;
  for (const auto& sample : world.run(options)) {
    EXPECT_EQ(sample.finish, "length");
    EXPECT_EQ(sample.token_ids.size(), 300U);
    EXPECT_THAT(sample.text, HasSubstr(kEndOfText));
  }
}

}  // namespace
}  // namespace moe
