// Which expert serves which tokens, and what they answer, against plain twins.

#include "moe/kernels/expert_mixture.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cstdint>
#include <string>
#include <vector>

#include "moe/kernels/expert_rows.h"
#include "moe/kernels/slot_table.h"
#include "tests/support/device.h"
#include "tests/support/tolerance.h"

namespace moe::kernels {
namespace {

using test::relative_error;
using test::test_device;

/// (N, K) int64, distinct within a row; only experts below `used` are chosen.
at::Tensor random_experts(std::int64_t n, std::int64_t k, std::int64_t used) {
  const auto order = at::rand({n, used}).argsort(std::int64_t{-1});
  return order.narrow(1, 0, k).contiguous();
}

/// The slots of expert e, as many as its load says.
at::Tensor served_by(const SlotTable& table, std::int64_t e) {
  const auto begin = table.first_panel[e].item<std::int64_t>() * kPanelSlots;
  return table.slots.flatten().narrow(0, begin, table.load[e].item<std::int64_t>());
}

TEST(SlotTableTest, GroupsEverySlotOnceInTheOrderOfTokens) {
  for (const std::int64_t n : {1, 7, 100}) {
    const auto experts = random_experts(n, 3, 5);
    const auto table = make_slot_table(experts, 6, -1, 0);  // expert 5 stays empty
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

TEST(SlotTableTest, CapacityKeepsTheFirstSlots) {
  const auto experts = random_experts(50, 2, 4);
  const auto all = make_slot_table(experts, 5, -1, 0);
  for (const std::int64_t capacity : {0, 1, 13, 100}) {
    const auto table = make_slot_table(experts, 5, capacity, 0);
    EXPECT_EQ(table.slots.ge(0).sum().item<std::int64_t>(), table.load.sum().item<std::int64_t>());
    for (std::int64_t e = 0; e < 5; ++e) {
      const auto kept = std::min(all.load[e].item<std::int64_t>(), capacity);
      EXPECT_EQ(table.load[e].item<std::int64_t>(), kept);
      EXPECT_TRUE(at::equal(served_by(table, e), served_by(all, e).narrow(0, 0, kept)));
    }
  }
}

TEST(SlotTableTest, CapacityIsNotForTheLastExpertsThatHaveNone) {
  const auto routed = random_experts(50, 2, 3);
  const auto shared = at::arange(3, 5, routed.options()).expand({50, 2});
  const auto experts = at::cat({routed, shared}, 1);
  const auto all = make_slot_table(experts, 5, -1, 0);
  for (const std::int64_t capacity : {0, 13}) {
    const auto table = make_slot_table(experts, 5, capacity, 2);
    for (std::int64_t e = 0; e < 5; ++e) {
      const auto wanted = all.load[e].item<std::int64_t>();
      const auto kept = e < 3 ? std::min(wanted, capacity) : wanted;
      EXPECT_EQ(table.load[e].item<std::int64_t>(), kept);
      EXPECT_TRUE(at::equal(served_by(table, e), served_by(all, e).narrow(0, 0, kept)));
    }
  }
}

TEST(SlotTableTest, ReadsExpertsOfAnyStrides) {
  const auto experts = random_experts(20, 3, 4);
  const auto strided = experts.t().contiguous().t();
  EXPECT_TRUE(at::equal(make_slot_table(strided, 4, -1, 0).slots,
                        make_slot_table(experts, 4, -1, 0).slots));
}

/// The layouts that a mixture of N tokens and E experts may have: every expert for every token, and
/// blocks of one row, of some, and of as many as any expert can serve.
std::vector<RowLayout> layouts_of(std::int64_t n, std::int64_t k, std::int64_t e) {
  std::vector<RowLayout> out{{e, n, true}};
  for (const std::int64_t rows : {std::int64_t{1}, std::int64_t{4}, n})
    out.push_back({std::min(n * k, n * k / rows + e), rows, false});
  return out;
}

/// The slots that `rows` hold of expert e, in their order.
std::vector<std::int64_t> served_by(const ExpertRows& rows, std::int64_t slots, std::int64_t e) {
  std::vector<std::int64_t> out;
  for (std::int64_t row = 0; row < rows.layout.size(); ++row) {
    const auto slot = rows.slot_of_row[row].item<std::int64_t>();
    const auto block = row / rows.layout.rows;
    if (slot < slots && rows.expert_of_block[block].item<std::int64_t>() == e) out.push_back(slot);
  }
  return out;
}

/// What a SlotTable says of the same.
std::vector<std::int64_t> served_by_table(const SlotTable& table, std::int64_t e) {
  const auto slots = served_by(table, e).to(at::kLong).contiguous();
  return {slots.const_data_ptr<std::int64_t>(),
          slots.const_data_ptr<std::int64_t>() + slots.numel()};
}

TEST(ExpertRowsTest, ServeTheSlotsOfTheTableInEveryLayout) {
  for (const std::int64_t n : {1, 7, 40})
    for (const auto capacity : {-1, 0, 1, 5}) {
      const auto routed = random_experts(n, 3, 5);
      const auto experts = at::cat({routed, at::full({n, 1}, 6)}, 1);  // 5 is empty, 6 is shared
      const auto table = make_slot_table(experts, 7, capacity, 1);
      for (const auto& layout : layouts_of(n, 4, 7)) {
        const auto rows = make_expert_rows(experts, 7, layout, capacity, 1);
        EXPECT_TRUE(at::equal(rows.load, table.load));
        for (std::int64_t e = 0; e < 7; ++e)
          EXPECT_EQ(served_by(rows, n * 4, e), served_by_table(table, e))
              << n << " tokens, capacity " << capacity << ", blocks of " << layout.rows;
      }
    }
}

TEST(ExpertRowsTest, SlotsAndRowsFindEachOther) {
  const auto experts = random_experts(30, 2, 4);
  for (const auto& layout : layouts_of(30, 2, 4)) {
    const auto rows = make_expert_rows(experts, 4, layout, /*capacity=*/9, 0);
    std::int64_t left_out = 0;
    for (std::int64_t slot = 0; slot < 60; ++slot) {
      const auto row = rows.row_of_slot[slot].item<std::int64_t>();
      if (row == layout.size())
        ++left_out;
      else
        EXPECT_EQ(rows.slot_of_row[row].item<std::int64_t>(), slot);
    }
    EXPECT_EQ(left_out, 60 - rows.load.sum().item<std::int64_t>());
    EXPECT_EQ(rows.slot_of_row.lt(60).sum().item<std::int64_t>(), 60 - left_out);
  }
}

TEST(ExpertRowsTest, AnyChoiceFitsInTheBlocks) {
  // All on one expert, and one expert after another, are the ends of what routers do.
  for (const std::int64_t n : {1, 5, 16, 33})
    for (const auto& experts :
         {at::zeros({n, 1}, at::kLong), at::arange(n).remainder(6).view({n, 1})})
      for (const auto& layout : layouts_of(n, 1, 6)) {
        const auto rows = make_expert_rows(experts, 6, layout, -1, 0);
        EXPECT_EQ(rows.slot_of_row.lt(n).sum().item<std::int64_t>(), n) << layout.rows;
      }
}

TEST(ExpertRowsTest, TheCheapestLayoutIsTaken) {
  // Few tokens: their experts' weights alone.
  const auto one = row_layout(1, 2, 8);
  EXPECT_FALSE(one.is_every_token);
  EXPECT_EQ(one.size(), 2);
  // Every expert is chosen by every token: nothing is left to save.
  EXPECT_TRUE(row_layout(512, 4, 4).is_every_token);
  // Many tokens: rows that serve nobody are few, and so are copies of weights.
  const auto many = row_layout(32768, 2, 8);
  EXPECT_FALSE(many.is_every_token);
  EXPECT_LT(many.size(), 32768 * 2 * 5 / 4);
  EXPECT_LT(many.blocks, 100);
}

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
  const auto options = at::device(test_device()).dtype(at::kDouble);
  // x, gates, w1, b1, w2, b2
  const std::vector<at::Tensor> values{
      at::randn({p.n, p.c}, options),    at::rand({p.n, p.k}, options),
      at::randn({p.e, f, p.c}, options), at::randn({p.e, f}, options),
      at::randn({p.e, p.c, f}, options), at::randn({p.e, p.c}, options)};
  const auto experts = random_experts(p.n, p.k, p.used).to(test_device());
  at::Tensor mask;
  if (p.masked) mask = at::rand({p.n, p.k, p.c}, options).gt(0.3).to(at::kDouble) / 0.7;
  const auto upstream = at::randn({p.n, p.c}, options);

  const auto biases = [&](const at::Tensor& leaf) { return p.has_biases ? leaf : at::Tensor(); };
  const auto run = [&](const auto& mixture, const RowLayout& layout) {
    std::vector<at::Tensor> leaves;
    for (const auto& value : values)
      leaves.push_back(value.detach().clone().set_requires_grad(true));
    const auto y = mixture(
        leaves[0], leaves[1], mask, make_expert_rows(experts, p.e, layout, p.capacity, 0),
        ExpertWeights{leaves[2], biases(leaves[3]), leaves[4], biases(leaves[5])}, p.activation);
    y.backward(upstream);
    std::vector<at::Tensor> out{y.detach()};
    for (const auto& leaf : leaves)
      out.push_back(leaf.grad().defined() || p.has_biases ? leaf.grad() : at::zeros_like(leaf));
    return out;
  };
  const auto layouts = layouts_of(p.n, p.k, p.e);
  const auto reference = run(expert_mixture_reference, layouts.front());
  for (const auto& layout : layouts) {
    const auto ours = run(expert_mixture, layout);
    for (std::size_t i = 0; i < ours.size(); ++i) {
      ASSERT_TRUE(ours[i].defined()) << i;
      EXPECT_LE(relative_error(ours[i], reference[i]), test::kDouble) << i << ", " << layout.rows;
    }
    for (std::size_t i = 3; i < ours.size(); ++i)  // weights of experts without a token
      EXPECT_TRUE(ours[i].slice(0, p.used).eq(0).all().item<bool>()) << i << ", " << layout.rows;
  }
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
