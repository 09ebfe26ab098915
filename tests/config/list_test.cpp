#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "moe/config/load.h"
#include "tests/config/sample.h"

// Keys whose value is a list: of numbers, and of objects with a kind.

namespace moe {
namespace {

using test::config_refusal;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;

using Overrides = std::vector<std::string>;

std::vector<BalanceConfig> balance_after(const Overrides& overrides) {
  return load_config({}, overrides).model.moe.balance;
}
std::string refusal_of(const Overrides& overrides) {
  return config_refusal([&] { load_config({}, overrides); });
}

constexpr BalanceConfig kSwitch{BalanceKind::switch_loss};
constexpr BalanceConfig kLossFree{BalanceKind::loss_free};

TEST(ConfigLists, OfNumbersAreReadAndReplaced) {
  EXPECT_THAT(load_config({}, Overrides{"model.moe.hash_layers=[0,2]"}).model.moe.hash_layers,
              ElementsAre(0, 2));
  EXPECT_THAT(load_config({}, Overrides{"model.moe.hash_layers=[0,2]", "model.moe.hash_layers=[]"})
                  .model.moe.hash_layers,
              IsEmpty());
}

TEST(ConfigLists, AnObjectStandsForAListOfIt) {
  EXPECT_THAT(balance_after({R"(model.moe.balance={"kind":"switch"})"}), ElementsAre(kSwitch));
  EXPECT_THAT(balance_after({R"(model.moe.balance=[{"kind":"switch"}])"}), ElementsAre(kSwitch));
  EXPECT_THAT(balance_after({"model.moe.balance.kind=switch"}), ElementsAre(kSwitch));
}

TEST(ConfigLists, ElementsThatSayNothingAreLeftOut) {
  EXPECT_THAT(balance_after({R"(model.moe.balance={"kind":"none"})"}), IsEmpty());
  EXPECT_THAT(balance_after({R"(model.moe.balance=[{"kind":"none"},{"kind":"loss_free"}])"}),
              ElementsAre(kLossFree));
}

TEST(ConfigLists, AnObjectWithAKindReplacesTheListAndOneWithoutChangesItsOnlyElement) {
  auto heavy = kSwitch;
  heavy.weight = 0.5;
  EXPECT_THAT(balance_after({"model.moe.balance.kind=switch", "model.moe.balance.weight=0.5"}),
              ElementsAre(heavy));
  EXPECT_THAT(balance_after({"model.moe.balance.kind=switch", "model.moe.balance.weight=0.5",
                             "model.moe.balance.kind=switch"}),
              ElementsAre(kSwitch));
  EXPECT_THAT(refusal_of({"model.moe.balance.weight=0.5"}),
              HasSubstr("model.moe.balance: {\"weight\":0.5} has no kind, and there are 0 elements "
                        "to change; give its kind"));
  EXPECT_THAT(refusal_of({R"(model.moe.balance=[{"kind":"switch"},{"kind":"loss_free"}])",
                          "model.moe.balance.weight=0.5"}),
              HasSubstr("there are 2 elements to change"));
}

TEST(ConfigLists, AProblemIsNamedWithItsElement) {
  EXPECT_THAT(refusal_of({R"(model.moe.balance=[{"kind":"switch"},{"kind":"loss_fre"}])"}),
              HasSubstr("model.moe.balance[1].kind: \"loss_fre\" does not fit; give one of"));
  EXPECT_THAT(refusal_of({R"(model.moe.balance=[{"weight":1}])"}),
              HasSubstr("model.moe.balance[0].kind: is missing; give it"));
  EXPECT_THAT(refusal_of({R"(model.moe.balance={"kind":"switch","weight":-1})"}),
              HasSubstr("model.moe.balance.weight: -1 is out of range; give from 0 to"));
  EXPECT_THAT(refusal_of({"model.moe.hash_layers=[1,2.5]"}),
              HasSubstr("model.moe.hash_layers[1]: 2.5 does not fit; give a whole number"));
  EXPECT_THAT(refusal_of({"model.moe.balance=switch"}),
              HasSubstr("model.moe.balance: \"switch\" is no list; write [...]"));
}

TEST(ConfigNames, ThatAreKnownButNotOfferedAreRefusedWithTheReason) {
  for (const std::string name : {"expert_choice", "soft", "sinkhorn", "mixture_of_depths"}) {
    const auto said = refusal_of({"model.moe.router=" + name});
    EXPECT_THAT(said, HasSubstr("model.moe.router: \"" + name + "\" is not offered: "));
    EXPECT_THAT(said, HasSubstr("later"));
    EXPECT_THAT(said, HasSubstr("; give one of \"noisy_topk\""));
  }
}

}  // namespace
}  // namespace moe
