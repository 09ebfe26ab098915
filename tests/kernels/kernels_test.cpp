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
#include "moe/kernels/expert_mixture.h"
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

/// (N, K) int64, distinct within a row; only experts below `used` are chosen.
at::Tensor random_experts(std::int64_t n, std::int64_t k, std::int64_t used) {
  const auto order = at::rand({n, used}).argsort(std::int64_t{-1});
  return order.narrow(1, 0, k).contiguous().to(test_device());
}

/// The slots of expert e, as many as its load says.
at::Tensor served_by(const SlotTable& table, std::int64_t e) {
  const auto begin = table.first_panel[e].item<std::int64_t>() * kPanelSlots;
  return table.slots.flatten().narrow(0, begin, table.load[e].item<std::int64_t>());
}

class SlotTableTest : public testing::TestWithParam<decltype(&make_slot_table)> {};

TEST_P(SlotTableTest, GroupsEverySlotOnceInTheOrderOfTokens) {
  for (const std::int64_t n : {1, 7, 100}) {
    const auto experts = random_experts(n, 3, 5);
    const auto table = GetParam()(experts, 6, -1, 0);  // expert 5 stays empty
    EXPECT_EQ(table.slots.sizes(), (std::vector<std::int64_t>{slot_panels(n * 3, 6), 16}));
    EXPECT_EQ(table.first_panel[0].item<std::int64_t>(), 0);
    EXPECT_EQ(table.load[5].item<std::int64_t>(), 0);
    EXPECT_EQ(table.load.sum().item<std::int64_t>(), n * 3);
    std::vector<at::Tensor> all;
    for (std::int64_t e = 0; e < 6; ++e) {
      all.push_back(served_by(table, e));
      EXPECT_TRUE(experts.flatten().index_select(0, all.back()).eq(e).all().item<bool>());
      const auto panels = (table.load[e].item<std::int64_t>() + 15) / 16;
      EXPECT_EQ((table.first_panel[e + 1] - table.first_panel[e]).item<std::int64_t>(), panels);
    }
    const auto order = experts.flatten().argsort(/*stable=*/true, /*dim=*/0);
    EXPECT_TRUE(at::equal(at::cat(all).to(at::kLong), order));
    EXPECT_EQ(table.slots.ge(0).sum().item<std::int64_t>(), n * 3) << "-1 elsewhere";
  }
}

TEST_P(SlotTableTest, CapacityKeepsTheFirstSlots) {
  const auto experts = random_experts(50, 2, 4);
  const auto all = GetParam()(experts, 5, -1, 0);
  for (const std::int64_t capacity : {0, 1, 13, 100}) {
    const auto table = GetParam()(experts, 5, capacity, 0);
    EXPECT_EQ(table.slots.ge(0).sum().item<std::int64_t>(), table.load.sum().item<std::int64_t>());
    for (std::int64_t e = 0; e < 5; ++e) {
      const auto kept = std::min(all.load[e].item<std::int64_t>(), capacity);
      EXPECT_EQ(table.load[e].item<std::int64_t>(), kept);
      EXPECT_TRUE(at::equal(served_by(table, e), served_by(all, e).narrow(0, 0, kept)));
    }
  }
}

TEST_P(SlotTableTest, CapacityIsNotForTheLastExpertsThatHaveNone) {
  const auto routed = random_experts(50, 2, 3);
  const auto shared = at::arange(3, 5, routed.options()).expand({50, 2});
  const auto experts = at::cat({routed, shared}, 1);
  const auto all = GetParam()(experts, 5, -1, 0);
  for (const std::int64_t capacity : {0, 13}) {
    const auto table = GetParam()(experts, 5, capacity, 2);
    for (std::int64_t e = 0; e < 5; ++e) {
      const auto wanted = all.load[e].item<std::int64_t>();
      const auto kept = e < 3 ? std::min(wanted, capacity) : wanted;
      EXPECT_EQ(table.load[e].item<std::int64_t>(), kept);
      EXPECT_TRUE(at::equal(served_by(table, e), served_by(all, e).narrow(0, 0, kept)));
    }
  }
}

TEST_P(SlotTableTest, ReadsExpertsOfAnyStrides) {
  const auto experts = random_experts(20, 3, 4);
  const auto strided = experts.t().contiguous().t();
  EXPECT_TRUE(at::equal(GetParam()(strided, 4, -1, 0).slots, GetParam()(experts, 4, -1, 0).slots));
}

INSTANTIATE_TEST_SUITE_P(Ways, SlotTableTest,
                         testing::Values(&make_slot_table, &slot_table_of_tensors));

struct MixtureCase {
  const char* name;
  std::int64_t n, c, e, k, used;  // only experts below `used` are chosen
  bool masked;
  std::int64_t capacity;
  Activation activation = Activation::relu;
  bool has_biases = true;
};

class MixtureTest : public testing::TestWithParam<MixtureCase> {};

TEST_P(MixtureTest, EqualsTheReferenceWithGradients) {
  const auto& p = GetParam();
  const auto f = 4 * p.c;
  const auto options = options_of(at::kDouble);
  // x, gates, w1, b1, w2, b2
  const std::vector<at::Tensor> values{
      at::randn({p.n, p.c}, options),    at::rand({p.n, p.k}, options),
      at::randn({p.e, f, p.c}, options), at::randn({p.e, f}, options),
      at::randn({p.e, p.c, f}, options), at::randn({p.e, p.c}, options)};
  const auto table = make_slot_table(random_experts(p.n, p.k, p.used), p.e, p.capacity);
  at::Tensor mask;
  if (p.masked) mask = at::rand({p.n, p.k, p.c}, options).gt(0.3).to(at::kDouble) / 0.7;
  const auto upstream = at::randn({p.n, p.c}, options);

  const auto biases = [&](const at::Tensor& leaf) { return p.has_biases ? leaf : at::Tensor(); };
  const auto run = [&](const auto& mixture) {
    std::vector<at::Tensor> leaves;
    for (const auto& value : values)
      leaves.push_back(value.detach().clone().set_requires_grad(true));
    const auto y = mixture(
        leaves[0], leaves[1], mask, table,
        ExpertWeights{leaves[2], biases(leaves[3]), leaves[4], biases(leaves[5])}, p.activation);
    y.backward(upstream);
    std::vector<at::Tensor> out{y.detach()};
    for (const auto& leaf : leaves)
      out.push_back(leaf.grad().defined() || p.has_biases ? leaf.grad() : at::zeros_like(leaf));
    return out;
  };
  const auto ours = run(expert_mixture), reference = run(expert_mixture_reference);
  for (std::size_t i = 0; i < ours.size(); ++i) {
    ASSERT_TRUE(ours[i].defined()) << i;
    EXPECT_LE(relative_error(ours[i], reference[i]), test::kDouble) << i;
  }
  for (std::size_t i = 3; i < ours.size(); ++i)  // weights of experts without a token
    EXPECT_TRUE(ours[i].slice(0, p.used).eq(0).all().item<bool>()) << i;
}

/// Every K of several E, for one token and for some.
std::vector<MixtureCase> every_k() {
  std::vector<MixtureCase> cases;
  for (const std::int64_t e : {1, 2, 3, 5, 8})
    for (std::int64_t k = 1; k <= e; ++k)
      for (const std::int64_t n : {1, 11}) cases.push_back({"every_k", n, 4, e, k, e, true, -1});
  return cases;
}

std::string name_of(const testing::TestParamInfo<MixtureCase>& test_info) {
  const auto& p = test_info.param;
  const auto number = [](const char* letter, std::int64_t value) {
    return letter + std::to_string(value);
  };
  return p.name + number("_N", p.n) + number("_E", p.e) + number("_K", p.k);
}

INSTANTIATE_TEST_SUITE_P(
    Shapes, MixtureTest,
    testing::Values(MixtureCase{"plain", 20, 6, 4, 2, 4, false, -1},
                    MixtureCase{"masked", 20, 6, 4, 2, 4, true, -1},
                    MixtureCase{"one_expert", 9, 5, 1, 1, 1, true, -1},
                    MixtureCase{"all_experts", 9, 5, 3, 3, 3, true, -1},
                    MixtureCase{"one_token", 1, 4, 4, 2, 4, true, -1},
                    MixtureCase{"one_wide", 7, 1, 3, 2, 3, false, -1},
                    MixtureCase{"empty_experts", 12, 4, 9, 2, 3, true, -1},
                    MixtureCase{"capacity", 30, 4, 4, 2, 4, true, 3},
                    MixtureCase{"all_dropped", 6, 4, 3, 2, 3, false, 0},
                    MixtureCase{"gelu", 12, 4, 9, 2, 3, true, -1, Activation::gelu},
                    MixtureCase{"silu", 30, 4, 4, 2, 4, true, 3, Activation::silu},
                    MixtureCase{"no_bias", 12, 4, 9, 2, 3, true, -1, Activation::relu, false}),
    name_of);
INSTANTIATE_TEST_SUITE_P(EveryK, MixtureTest, testing::ValuesIn(every_k()), name_of);

}  // namespace
}  // namespace moe::kernels
