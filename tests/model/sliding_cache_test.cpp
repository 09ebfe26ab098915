// A cache beyond the context. With one layer, keys and values know nothing of the positions before
// them, and rotary scores know distances alone: a cache that slides gives what the last positions
// alone give. With more layers it remembers, and differs.

#include <ATen/ATen.h>
#include <ATen/core/grad_mode.h>
#include <gtest/gtest.h>

#include <tuple>

#include "tests/support/golden.h"
#include "tests/support/tiny_model.h"

namespace moe {
namespace {

using namespace test;

/// Angles of far positions, computed in double, and the same sums in another order.
constexpr double kFarAngles = 1e-12;

/// What a second layer remembers is no rounding: a bound between that and kFarAngles, which only
/// tells the two apart.
constexpr double kRemembered = 1e-6;

ModelConfig sliding_config(std::int64_t layers, Positions positions) {
  auto config = tiny_config();
  config.n_layer = layers;
  config.positions = positions;
  config.qk_norm = QkNorm::head;
  return config;
}

class SlidingCache : public testing::TestWithParam<std::tuple<EngineKind, Positions>> {
 protected:
  static constexpr std::int64_t kTokens = 20;

  SlidingCache() { at::manual_seed(17); }

  /// The largest deviation, position by position, from what the context's last positions give.
  static double deviation(std::int64_t layers) {
    const at::NoGradGuard no_grad;
    const auto [engine, positions] = GetParam();
    Built built(sliding_config(layers, positions), engine);
    const auto ids = random_ids(3, kTokens);
    KeyValueCache cache;
    double most = 0;
    for (std::int64_t t = 0; t < kTokens; ++t) {
      const auto step = make_context(3, 1, /*training=*/false, kKey, 0, t);
      const auto got = built.model->extend(ids.narrow(1, t, 1), cache, step);
      const auto seen = std::min(t + 1, built.config.block_size), first = t + 1 - seen;
      const auto window = make_context(3, seen, /*training=*/false, kKey, 0, first);
      const auto want = built.model->last_logits(ids.narrow(1, first, seen), window);
      most = std::max(most, relative_error(got, want));
    }
    EXPECT_EQ(cache.length(), kTokens);
    return most;
  }
};

TEST_P(SlidingCache, OfOneLayerGivesWhatTheLastPositionsGive) {
  EXPECT_LE(deviation(1), kFarAngles);
}

TEST_P(SlidingCache, OfTwoLayersRemembersMore) { EXPECT_GE(deviation(2), kRemembered); }

TEST_P(SlidingCache, OfConvolutionsAndTablesGivesWhatTheReadableModulesGive) {
  const at::NoGradGuard no_grad;
  const auto [engine, positions] = GetParam();
  auto config = sliding_config(2, positions);
  config.short_conv = 3;
  config.x0_shortcut = config.value_residual = true;
  config.ngram.orders = {2, 4};
  Built built(config, engine), plain(config, EngineKind::reference);
  const auto ids = random_ids(3, kTokens);
  KeyValueCache cache, plain_cache;
  for (std::int64_t t = 0; t < kTokens; ++t) {
    const auto step = make_context(3, 1, /*training=*/false, kKey, 0, t);
    EXPECT_LE(relative_error(built.model->extend(ids.narrow(1, t, 1), cache, step),
                             plain.model->extend(ids.narrow(1, t, 1), plain_cache, step)),
              kFarAngles)
        << t;
  }
}

TEST_P(SlidingCache, TakesSeveralPositionsAsOneAfterAnother) {
  const at::NoGradGuard no_grad;
  const auto [engine, positions] = GetParam();
  Built built(sliding_config(2, positions), engine);
  const auto ids = random_ids(2, 11);
  KeyValueCache one_by_one, at_once;
  at::Tensor want;
  for (std::int64_t t = 0; t < 11; ++t)
    want = built.model->extend(ids.narrow(1, t, 1), one_by_one,
                               make_context(2, 1, /*training=*/false, kKey, 0, t));
  built.model->extend(ids.narrow(1, 0, 4), at_once, make_context(2, 4, false, kKey));
  const auto got = built.model->extend(ids.narrow(1, 4, 7), at_once,
                                       make_context(2, 7, /*training=*/false, kKey, 0, 4));
  EXPECT_LE(relative_error(got, want), kFarAngles);
}

INSTANTIATE_TEST_SUITE_P(Engines, SlidingCache,
                         testing::Combine(testing::ValuesIn(kEngines),
                                          testing::Values(Positions::rotary, Positions::none)),
                         [](const auto& test_info) {
                           return name_of(std::get<0>(test_info.param)) +
                                  (std::get<1>(test_info.param) == Positions::rotary ? "_rotary"
                                                                                     : "_none");
                         });

TEST(LearnedPositions, DoNotSlide) {
  const at::NoGradGuard no_grad;
  Built built(tiny_config());
  KeyValueCache cache;
  built.model->extend(random_ids(1, 6), cache, make_context(1, 6, /*training=*/false, kKey));
  EXPECT_THROW(built.model->extend(random_ids(1, 1), cache, make_context(1, 1, false, kKey, 0, 6)),
               c10::Error);
}

}  // namespace
}  // namespace moe
