// The kernels against their plain twins.

#include <ATen/ATen.h>
#include <ATen/Parallel.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <string>
#include <vector>

#include "moe/base/random.h"
#include "moe/kernels/adamw.h"
#include "moe/kernels/draws.h"
#include "tests/support/device.h"
#include "tests/support/golden.h"
#include "tests/support/threads.h"
#include "tests/support/tolerance.h"

namespace moe::kernels {
namespace {

using test::relative_error;
using test::test_device;

constexpr DrawKey kKey{0xFEDCBA9876543210ULL, 7};

RowIds rows_of(std::int64_t batch, std::int64_t time) {
  return {at::arange(batch, at::kLong).repeat_interleave(time),
          at::arange(time, at::kLong).repeat({batch})};
}

at::TensorOptions options_of(at::ScalarType type) { return at::device(test_device()).dtype(type); }
at::Tensor like_of(at::ScalarType type) { return at::empty({0}, options_of(type)); }

TEST(DrawsTest, WordsEqualTheReference) {
  for (const std::int64_t width : {1, 3, 4, 5, 64}) {
    for (const auto& rows : {rows_of(3, 5), rows_of(1, 1), rows_of(40, 64)})
      EXPECT_TRUE(at::equal(words(rows, width, kKey), words_reference(rows, width, kKey))) << width;
  }
}

TEST(DrawsTest, WordsEqualTheReferenceAtTheEndsOfTheRange) {
  const auto ends =
      at::tensor(std::vector<std::int64_t>{0, 1, 0x7FFFFFFF, 0x80000000LL, 0xFFFFFFFFLL});
  const RowIds rows{ends, ends.flip(0)};
  for (const auto key : {DrawKey{0, 0}, DrawKey{~0ULL, ~0U}, DrawKey{0xFFFFFFFF00000000ULL, 1}})
    EXPECT_TRUE(at::equal(words(rows, 9, key), words_reference(rows, 9, key)));
}

TEST(DrawsTest, WordsAreThoseOfRandom123) {
  // Known answers of Random123's kat_vectors for philox4x32-10. The words of row n are counter
  // (block, position, sequence, site).
  const auto zero = at::zeros({1}, at::kLong);
  const auto first =
      at::tensor(std::vector<std::int64_t>{0x6627e8d5, 0xe169c58dLL, 0xbc57ac4cLL, 0x9b00dbd8LL});
  EXPECT_TRUE(at::equal(words({zero, zero}, 4, {0, 0}).view({4}), first));
}

TEST(DrawsTest, ADrawDependsOnItsTokenAlone) {
  const auto rows = rows_of(4, 6);
  const auto order = at::randperm(24, at::kLong);
  const RowIds shuffled{rows.sequence.index_select(0, order), rows.position.index_select(0, order)};
  EXPECT_TRUE(at::equal(words(shuffled, 10, kKey), words(rows, 10, kKey).index_select(0, order)));
}

TEST(DrawsTest, SitesKeysAndRowsDiffer) {
  const auto rows = rows_of(2, 2);
  const auto drawn = words(rows, 8, kKey);
  EXPECT_FALSE(at::equal(drawn, words(rows, 8, {kKey.key, kKey.site + 1})));
  EXPECT_FALSE(at::equal(drawn, words(rows, 8, {kKey.key + 1, kKey.site})));
  for (int a = 0; a < 4; ++a)
    for (int b = 0; b < a; ++b) EXPECT_FALSE(at::equal(drawn[a], drawn[b]));
}

TEST(DrawsTest, EveryDeviceDrawsWhatTheCpuDraws) {
  if (test_device().is_cpu()) GTEST_SKIP() << "MAKEMOE_TEST_DEVICE names no other device";
  const auto rows = rows_of(9, 7);
  const auto like = like_of(at::kDouble), cpu_like = at::empty({0}, at::kDouble);
  const auto mask = dropout_mask(rows, 9, 0.3, kKey, like);
  EXPECT_EQ(mask.device(), test_device());
  EXPECT_TRUE(at::equal(mask.cpu(), dropout_mask(rows, 9, 0.3, kKey, cpu_like)));
  EXPECT_TRUE(
      at::equal(normal_draws(rows, 9, kKey, like).cpu(), normal_draws(rows, 9, kKey, cpu_like)));
}

TEST(DrawsTest, MasksAndNoiseEqualTheirReferences) {
  // Of a draw or of 1: twice what a draw and the C library's differ by at most (next but one test).
  constexpr double kElementary = 8e-15;
  const auto rows = rows_of(9, 7);
  for (const auto type : {at::kDouble, at::kFloat})
    for (const double p : {0.0, 0.1, 0.5}) {
      const auto like = at::empty({0}, type);
      EXPECT_TRUE(at::equal(dropout_mask(rows, 9, p, kKey, like),
                            dropout_mask_reference(rows, 9, p, kKey, like)));
    }
  const auto like = at::empty({0}, at::kDouble);
  const auto noise = normal_draws(rows, 9, kKey, like);
  const auto apart = (normal_draws_reference(rows, 9, kKey, like) - noise).abs();
  EXPECT_LE((apart / noise.abs().clamp_min(1)).max().item<double>(), kElementary);
}

TEST(DrawsTest, AKeyInMemoryIsReadInsteadOfItsNumber) {
  const auto rows = rows_of(3, 5);
  const auto memory = at::tensor(std::vector{static_cast<std::int64_t>(kKey.key)});
  const DrawKey kept{/*key=*/0, kKey.site, &memory};
  EXPECT_TRUE(at::equal(words_reference(rows, 9, kept), words(rows, 9, kKey)));
}

TEST(DrawsTest, DropoutDropsItsShareAndScalesTheRest) {
  const auto like = like_of(at::kDouble);
  for (const double p : {0.1, 0.5, 0.9}) {
    const auto mask = dropout_mask(rows_of(50, 40), 100, p, kKey, like);  // 200000 draws
    const auto dropped = mask.eq(0);
    // Standard deviation sqrt(p (1-p) / 200000) <= 0.0012; five of them.
    EXPECT_NEAR(dropped.to(at::kDouble).mean().item<double>(), p, 0.006);
    EXPECT_TRUE((dropped | mask.eq(1 / (1 - p))).all().item<bool>());
  }
  EXPECT_TRUE(dropout_mask(rows_of(5, 4), 10, 0, kKey, like).eq(1).all().item<bool>());
}

TEST(DrawsTest, NormalDrawsAreThoseOfTheCLibrary) {
  // Twice the largest deviation that was measured, 1.9e-15, of the draw or of 1.
  constexpr double kElementary = 4e-15;
  const auto rows = rows_of(40, 50);
  const auto drawn = normal_draws(rows, 8, kKey, at::empty({0}, at::kDouble));
  const auto from = words(rows, 8, kKey);
  for (std::int64_t n = 0; n < 2000; ++n)
    for (std::int64_t w = 0; w < 8; w += 2) {
      const auto word = [&](std::int64_t i) {
        return static_cast<std::uint32_t>(from[n][i].item<std::int64_t>());
      };
      const auto want = normal_pair(word(w), word(w + 1));
      for (std::int64_t i = 0; i < 2; ++i)
        ASSERT_NEAR(drawn[n][w + i].item<double>(), want[static_cast<std::size_t>(i)],
                    kElementary * std::max(1.0, std::abs(want[static_cast<std::size_t>(i)])))
            << n << ", " << w + i;
    }
}

TEST(DrawsTest, NormalDrawsHaveTheirMoments) {
  const auto drawn = normal_draws(rows_of(50, 40), 101, kKey, like_of(at::kDouble));
  EXPECT_TRUE(drawn.isfinite().all().item<bool>());
  EXPECT_NEAR(drawn.mean().item<double>(), 0, 0.012);  // five deviations of 202000 draws
  EXPECT_NEAR(drawn.var().item<double>(), 1, 0.016);
  EXPECT_NEAR(drawn.pow(4).mean().item<double>(), 3, 0.11);
}

TEST(DrawsTest, FloatIsDoubleRounded) {
  const auto rows = rows_of(9, 7);
  const auto single = like_of(at::kFloat), twice = like_of(at::kDouble);
  EXPECT_TRUE(at::equal(normal_draws(rows, 6, kKey, single),
                        normal_draws(rows, 6, kKey, twice).to(at::kFloat)));
  EXPECT_TRUE(at::equal(dropout_mask(rows, 6, 0.3, kKey, single),
                        dropout_mask(rows, 6, 0.3, kKey, twice).to(at::kFloat)));
}

TEST(DrawsTest, SameDrawsOnAnyNumberOfThreads) {
  const auto like = like_of(at::kFloat);
  const auto rows = rows_of(64, 64);  // enough rows for more than one task
  const auto draw = [&](int threads) {
    const test::ThreadCount count(threads);
    return std::vector{words(rows, 9, kKey), dropout_mask(rows, 9, 0.1, kKey, like),
                       normal_draws(rows, 9, kKey, like)};
  };
  const auto one = draw(1), two = draw(2);
  for (std::size_t i = 0; i < one.size(); ++i) EXPECT_TRUE(at::equal(one[i], two[i])) << i;
}

TEST(AdamWTest, EqualsTheReference) {
  const auto options = options_of(at::kDouble);
  auto parameters = at::randn({1003}, options);
  auto m = at::zeros_like(parameters), v = at::zeros_like(parameters);
  auto parameters2 = parameters.clone(), m2 = m.clone(), v2 = v.clone();
  for (std::int64_t step = 1; step <= 20; ++step) {
    auto gradients = at::randn({1003}, options);
    gradients.slice(0, 0, 10).zero_();  // an expert without a token
    const auto before = gradients.clone();
    const AdamWStep at_step{1e-2, 0.9, 0.999, 1e-8, 0.1, step};
    adamw(parameters, gradients, m, v, at_step);
    adamw_reference(parameters2, before, m2, v2, at_step);
    EXPECT_TRUE(at::equal(gradients, before));
    EXPECT_LE(relative_error(parameters, parameters2), test::kDouble) << step;
    EXPECT_LE(relative_error(m, m2), test::kDouble) << step;
    EXPECT_LE(relative_error(v, v2), test::kDouble) << step;
  }
}

}  // namespace
}  // namespace moe::kernels
