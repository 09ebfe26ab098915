#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "moe/config/load.h"
#include "tests/config/sample.h"

// Keys whose value is a list: of numbers, of objects with a kind, and of the names of texts.

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

std::vector<std::string> texts_after(const Overrides& overrides) {
  return load_config({}, overrides).data.path.all();
}
/// What config.json says of data.path after `override`.
std::string written_after(const std::string& override) {
  return json_text(config_to_json(load_config({}, Overrides{override})).at("data").at("path"));
}

TEST(ConfigLists, TheNamesOfTextsAreOneOrAListAndBecomeAbsolute) {
  EXPECT_THAT(texts_after({R"(data.path=["/b.txt","/x/../a/*.md"])"}),
              ElementsAre("/b.txt", "/a/*.md"));
  EXPECT_THAT(texts_after({"data.path=/b.txt"}), ElementsAre("/b.txt"));
  EXPECT_THAT(texts_after({R"(data.path=["/b.txt"])", "data.path="}), IsEmpty());
  EXPECT_THAT(texts_after({R"(data.path=["/b.txt"])", "data.path=[]"}), IsEmpty());
}

TEST(ConfigLists, OneTextIsWrittenAsAStringAndSeveralAsAList) {
  EXPECT_EQ(written_after("data.path=/b.txt"), R"("/b.txt")");
  EXPECT_EQ(written_after(R"(data.path=["/b.txt"])"), R"("/b.txt")");
  EXPECT_EQ(written_after(R"(data.path=["/b.txt","/a"])"), R"(["/b.txt","/a"])");
  EXPECT_EQ(written_after("data.path=[]"), R"("")");
}

TEST(ConfigLists, NamesOfTextsThatAreNoneAreAllRefused) {
  const auto refusal = refusal_of({R"(data.path=["/a",3,"",null])"});
  for (const auto* part : {"data.path[1]: 3 does not fit; give a text", "data.path[2]: is empty",
                           "data.path[3]: null does not fit"})
    EXPECT_THAT(refusal, HasSubstr(part));
  EXPECT_THAT(refusal_of({"data.path={}"}), HasSubstr("give a text in quotes, or a list of them"));
  EXPECT_THAT(refusal_of({R"(data.val_path=["/a","~/b"])"}), HasSubstr("expanded by the shell"));
}

TEST(TextNames, ShowTheFirstAndHowManyMore) {
  EXPECT_EQ(TextNames().shown(), "");
  EXPECT_EQ(TextNames("a").shown(), "a");
  EXPECT_EQ(TextNames(std::vector<std::string>{"a", "b", "c"}).shown(), "a and 2 more");
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
