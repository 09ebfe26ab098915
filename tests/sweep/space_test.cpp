#include "moe/sweep/space.h"

#include <gmock/gmock.h>

#include "moe/config/load.h"
#include "tests/sweep/sample.h"

namespace moe::sweep {
namespace {

using test::parsed;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

std::vector<std::string> problems_of(const std::string& text) {
  std::vector<std::string> problems;
  const auto space = Space::parse(parse_json(text, "space", ErrorKind::config), problems);
  space.check_keys(RunConfig{}, problems);
  return problems;
}

TEST(Space, WalksOverEveryPointOnceWithTheLastParameterFastest) {
  const auto space = parsed(R"({"a": {"choices": ["x", "y"]}, "b": {"int": [1, 5], "step": 2}})");
  std::vector<std::string> seen;
  for (const auto& point : space.points(0, 100)) seen.push_back(json_text(values_of(space, point)));
  EXPECT_THAT(seen, ElementsAre(R"({"a":"x","b":1})", R"({"a":"x","b":3})", R"({"a":"x","b":5})",
                                R"({"a":"y","b":1})", R"({"a":"y","b":3})", R"({"a":"y","b":5})"));
  EXPECT_EQ(*space.size(100), 6);
  EXPECT_EQ(space.points(4, 1).size(), 1u);
  EXPECT_TRUE(space.points(6, 1).empty());
}

TEST(Space, LeavesOutWhatItsConditionRulesOut) {
  const auto space = parsed(R"({
    "warmup": {"choices": [10, 20], "when": {"kind": ["cosine", "linear"]}},
    "kind": {"choices": ["constant", "cosine", "linear"]}})");
  std::vector<std::string> seen;
  for (const auto& point : space.points(0, 100)) seen.push_back(json_text(values_of(space, point)));
  EXPECT_THAT(seen,
              ElementsAre(R"({"kind":"constant"})", R"({"kind":"cosine","warmup":10})",
                          R"({"kind":"cosine","warmup":20})", R"({"kind":"linear","warmup":10})",
                          R"({"kind":"linear","warmup":20})"));
  const auto& warmup = *space.find("warmup");
  EXPECT_FALSE(space.is_active(warmup, {{"kind", 0}}));
  EXPECT_FALSE(space.is_active(warmup, {{"warmup", 1}})) << "what it depends on is not chosen";
  EXPECT_TRUE(space.is_active(warmup, {{"kind", 1}}));
}

TEST(Space, AStepOfTenthsReachesItsEnd) {
  const auto space = parsed(R"({"a": {"float": [0.1, 1.0], "step": 0.3}})");
  EXPECT_EQ(*space.size(100), 4);
  EXPECT_DOUBLE_EQ(space.points(3, 1)[0].at("a"), 1.0);
  const auto& a = space.parameters()[0];
  EXPECT_TRUE(a.internal_of(Json(0.1 + 0.3 * 2)));
  EXPECT_FALSE(a.internal_of(Json(0.5)));
}

TEST(Space, HasNoSizeInARangeOfNumbers) {
  EXPECT_FALSE(parsed(R"({"a": {"float": [0, 1]}})").size(10));
  EXPECT_EQ(*parsed(R"({"a": {"float": [1, 1]}})").size(10), 1);
}

TEST(Space, ReadsOptunasValuesOfItsOwnRangeOnly) {
  const auto space = parsed(R"({"c": {"choices": [2, 4]}, "n": {"int": [1, 4]}})");
  const auto& choices = space.parameters()[0];
  EXPECT_EQ(choices.internal_of(1.0, choices.distribution()), 1);
  const auto* other = R"({"name": "CategoricalDistribution", "attributes": {"choices": [4, 2]}})";
  EXPECT_EQ(choices.internal_of(0.0, other), 1);  // an index into another order
  EXPECT_FALSE(choices.internal_of(7.0, other));
  EXPECT_FALSE(choices.internal_of(0.0, "nonsense"));
  EXPECT_FALSE(space.parameters()[1].internal_of(5.0, ""));
  EXPECT_FALSE(space.parameters()[1].internal_of(1.5, ""));
  EXPECT_EQ(space.parameters()[1].internal_of(0.0, other), 4);  // a range that was choices before
}

TEST(Space, ChoicesThatAreNoScalarsGoToOptunaAsText) {
  const auto space = parsed(R"({"optim.betas": {"choices": [[0.9, 0.99], [0.9, 0.999]]}})");
  const auto& betas = space.parameters()[0];
  EXPECT_THAT(betas.distribution(), HasSubstr(R"("[0.9,0.99]")"));
  EXPECT_EQ(betas.internal_of(1.0, betas.distribution()), 1);
  EXPECT_TRUE(problems_of(R"({"optim.betas": {"choices": [[0.9, 0.99]]}})").empty());
}

TEST(Space, VariesAListOfObjectsByItsValuesAndByAKeyOfItsOnlyElement) {
  const auto* text = R"({"model.moe.balance": {"choices": [
      {"kind": "none"}, {"kind": "switch"}, [{"kind": "switch"}, {"kind": "loss_free"}]]}})";
  EXPECT_THAT(problems_of(text), ElementsAre());
  const auto space = parsed(text);
  std::vector<std::size_t> lengths;
  for (const auto& point : space.points(0, 100))
    lengths.push_back(config_at(RunConfig{}, space, point).model.moe.balance.size());
  EXPECT_THAT(lengths, ElementsAre(0, 1, 2));
  EXPECT_THAT(problems_of(R"({"model.moe.balance": {"choices": [{"kind": "swich"}]}})"),
              ElementsAre(HasSubstr("model.moe.balance.kind: \"swich\" does not fit")));

  RunConfig base;
  base.model.moe.balance = {{BalanceKind::switch_loss}};
  const auto weights = parsed(R"({"model.moe.balance.weight": {"choices": [0.5]}})");
  const auto config = config_at(base, weights, weights.points(0, 1)[0]);
  EXPECT_EQ(config.model.moe.balance.at(0).weight, 0.5);
}

TEST(Space, MakesAConfigAndRefusesABadCombination) {
  const auto space = parsed(
      R"({"model.moe.num_experts": {"choices": [2, 4]}, "model.moe.top_k": {"int": [2, 4]}})");
  const Point good{{"model.moe.num_experts", 1}, {"model.moe.top_k", 3}};
  EXPECT_EQ(config_at(RunConfig{}, space, good).model.moe.num_experts, 4);
  EXPECT_THROW(
      config_at(RunConfig{}, space, {{"model.moe.num_experts", 0}, {"model.moe.top_k", 3}}),
      ConfigError);
}

struct Wrong {
  const char* name;
  const char* space;
  const char* says;
};

class SpaceRefuses : public ::testing::TestWithParam<Wrong> {};

TEST_P(SpaceRefuses, AndSaysWhy) {
  const auto problems = problems_of(GetParam().space);
  ASSERT_EQ(problems.size(), 1u) << ::testing::PrintToString(problems);
  EXPECT_THAT(problems[0], HasSubstr(GetParam().says));
  EXPECT_THAT(problems[0], HasSubstr("; "));
}

INSTANTIATE_TEST_SUITE_P(
    Mistakes, SpaceRefuses,
    ::testing::Values(
        Wrong{"unknown_key", R"({"model.n_layers": {"int": [1, 2]}})", "did you mean \"n_layer\"?"},
        Wrong{"out_of_bounds", R"({"model.dropout": {"float": [0, 1]}})", "out of range"},
        Wrong{"wrong_type", R"({"model.n_layer": {"float": [1, 1]}})", "whole number"},
        Wrong{"wrong_choice", R"({"model.init": {"choices": ["default", "zeros"]}})", "kaiming"},
        Wrong{"empty_space", "{}", "names no key"}, Wrong{"no_object", "[]", "names no key"},
        Wrong{"no_kind", R"({"seed": {"log": true}})", "exactly one"},
        Wrong{"two_kinds", R"({"seed": {"int": [1, 2], "choices": [1]}})", "exactly one"},
        Wrong{"typo_in_member", R"({"seed": {"int": [1, 2], "lgo": true}})",
              "did you mean \"log\"?"},
        Wrong{"backwards", R"({"seed": {"int": [3, 2]}})", "exchange"},
        Wrong{"fraction_in_int", R"({"seed": {"int": [1, 2.5]}})", "whole numbers"},
        Wrong{"three_ends", R"({"seed": {"int": [1, 2, 3]}})", "[low, high]"},
        Wrong{"log_of_zero", R"({"model.dropout": {"float": [0, 0.5], "log": true}})",
              "no logarithm"},
        Wrong{"log_and_step", R"({"seed": {"int": [1, 9], "log": true, "step": 2}})",
              "not together"},
        Wrong{"step_zero", R"({"seed": {"int": [1, 9], "step": 0}})", "above 0"},
        Wrong{"no_choices", R"({"seed": {"choices": []}})", "no list of values"},
        Wrong{"twice", R"({"seed": {"choices": [1, 1]}})", "stands twice"},
        Wrong{"condition_elsewhere", R"({"seed": {"int": [1, 2], "when": {"threads": 1}}})",
              "not in the space"},
        Wrong{"condition_never",
              R"({"threads": {"int": [1, 2]}, "seed": {"int": [1, 2], "when": {"threads": 5}}})",
              "none of its values"},
        Wrong{"hair_of_a_step", R"({"model.dropout": {"float": [0, 0.5], "step": 1e-300}})",
              "another one"},
        Wrong{"step_too_wide", R"({"seed": {"int": [1, 9], "step": 18446744073709551615}})",
              "give a whole number up to 2^53, above 0"},
        Wrong{"beyond_all", R"({"optim.eps": {"float": [1, 1e308]}})", "1e100"},
        Wrong{"condition_empty",
              R"({"threads": {"int": [1, 2]}, "seed": {"int": [1, 2], "when": {"threads": []}}})",
              "has 0 values"},
        Wrong{"circle", R"({"seed": {"int": [1, 2], "when": {"seed": 1}}})", "circle"}),
    [](const auto& tested) { return tested.param.name; });

TEST(SpaceRefuses, MoreThanAnyoneMeans) {
  auto space = Json::object();
  for (int i = 0; i < 2000; ++i) space["key" + std::to_string(i)] = {{"int", {1, 2}}};
  EXPECT_THAT(problems_of(json_text(space)), ElementsAre(HasSubstr("keys are too many")));
  auto choices = Json::array();
  for (int i = 0; i < 200000; ++i) choices.push_back(i);
  EXPECT_THAT(problems_of(json_text({{"seed", {{"choices", choices}}}})),
              ElementsAre(HasSubstr("200000 are too many")));
}

TEST(SpaceRefuses, EveryMistakeAtOnce) {
  EXPECT_EQ(problems_of(R"({"seed": {"int": [3, 2]}, "threads": {"log": 1}, "device": 7})").size(),
            3u);
}

}  // namespace
}  // namespace moe::sweep
