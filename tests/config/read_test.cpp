#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <fstream>
#include <string>
#include <vector>

#include "moe/base/text.h"
#include "moe/config/load.h"
#include "tests/config/sample.h"

// What a value of a config file or of --set may be; src/config/read.cpp through its public doors.

namespace moe {
namespace {

using test::config_refusal;
using test::leaf;
using test::Scratch;
using test::tree_with;
using testing::HasSubstr;
using testing::StartsWith;

/// What load_config says of a file that holds `text`, without the file's path.
std::string refusal_of_file(const std::string& text) {
  const Scratch scratch;
  const auto path = scratch / "c.json";
  std::ofstream(path) << text;
  const auto message = config_refusal([&] { load_config(path, {}); });
  const auto where = path.string() + ": ";
  return message.starts_with(where) ? message.substr(where.size()) : message;
}

std::string refusal_of_set(const std::string& text) {
  return config_refusal([&] { load_config({}, std::vector{text}); });
}

struct Bad {
  const char* name;
  std::string text;
  const char* says;
};
std::string name_of(const testing::TestParamInfo<Bad>& given) { return given.param.name; }

class BadFile : public testing::TestWithParam<Bad> {};

TEST_P(BadFile, IsRefusedInOneLineThatSaysWhereWhatAndWhatToDo) {
  const auto message = refusal_of_file(GetParam().text);
  EXPECT_THAT(message, HasSubstr(GetParam().says));
  EXPECT_THAT(message, HasSubstr("; "));
  EXPECT_EQ(message.find('\n'), std::string::npos) << message;
  EXPECT_LT(message.size(), 300U) << message;
}

INSTANTIATE_TEST_SUITE_P(
    Keys, BadFile,
    testing::Values(
        Bad{"unknown", R"({"sed": 1})", R"(sed: unknown key; did you mean "seed"?)"},
        Bad{"unknown_in_section", R"({"model": {"n_layers": 4}})",
            R"(model.n_layers: unknown key; did you mean "n_layer"?)"},
        Bad{"unknown_two_deep", R"({"model": {"moe": {"topk": 1}}})",
            R"(model.moe.topk: unknown key; did you mean "top_k"?)"},
        Bad{"unknown_case", R"({"Seed": 1})", R"(Seed: unknown key; did you mean "seed"?)"},
        Bad{"unknown_to_any", R"({"eval": {"xyzzy": 1}})",
            "eval.xyzzy: unknown key; known are mode, eval_iters"},
        Bad{"dotted", R"({"train.max_iters": 5})",
            R"(train.max_iters: unknown key; write it nested: {"train":{"max_iters":5}})"},
        Bad{"dotted_in_section", R"({"model": {"moe.top_k": 1}})",
            R"(model.moe.top_k: unknown key; write it nested: {"moe":{"top_k":1}})"},
        Bad{"dotted_three_deep", R"({"optim.schedule.kind": "cosine"})",
            R"(write it nested: {"optim":{"schedule":{"kind":"cosine"}}})"},
        Bad{"dotted_below_a_value", R"({"seed.x": 1})",
            R"(seed.x: unknown key; did you mean "seed"?)"},
        Bad{"endless_dots", "{\"model" + std::string(100'000, '.') + "\": 1}", "known are seed"},
        Bad{"empty", R"({"": 1})", "unknown key; known are seed, device"},
        Bad{"with_escape", R"({"\u001b[31m": 1})", "\\x1b[31m: unknown key"},
        Bad{"endless", "{\"" + std::string(100'000, 'k') + "\": 1}", "...: unknown key"},
        Bad{"extends_below_the_top", R"({"model": {"extends": "a.json"}})",
            "model.extends: unknown key"},
        Bad{"twice", "{\"seed\": 1,\n\"seed\": 2}", "line 2, column 6: the key \"seed\" stands"},
        Bad{"twice_in_section", R"({"eval": {"mode": "full", "mode": "full"}})", "\"mode\" stands"},
        Bad{"section_twice", R"({"eval": {}, "eval": {}})", "\"eval\" stands twice"}),
    name_of);

INSTANTIATE_TEST_SUITE_P(
    Types, BadFile,
    testing::Values(
        Bad{"fraction_for_integer", R"({"model": {"n_layer": 2.7}})",
            "model.n_layer: 2.7 does not fit; give a whole number"},
        Bad{"whole_fraction_for_integer", R"({"seed": 2.0})", "seed: 2.0 does not fit"},
        Bad{"exponent_for_integer", R"({"seed": 1e2})", "seed: 100.0 does not fit"},
        Bad{"beyond_int64", R"({"seed": 9223372036854775808})", "9223372036854775808 does not fit"},
        Bad{"far_beyond_int64", R"({"seed": 123456789012345678901234567890})", "does not fit"},
        Bad{"true_for_integer", R"({"seed": true})",
            "seed: true does not fit; give a whole number"},
        Bad{"true_for_number", R"({"optim": {"eps": true}})", "optim.eps: true does not fit"},
        Bad{"text_for_integer", R"({"seed": "8"})", "give a whole number"},
        Bad{"text_for_number", R"({"model": {"dropout": "0.1"}})", "give a number"},
        Bad{"text_for_boolean", R"({"deterministic": "true"})", "give true or false"},
        Bad{"number_for_boolean", R"({"deterministic": 1})", "1 does not fit; give true or false"},
        Bad{"number_for_text", R"({"device": 0})", "device: 0 does not fit; give a text in quotes"},
        Bad{"number_for_name", R"({"eval": {"mode": 0}})", R"(0 does not fit; give one of "full")"},
        Bad{"unknown_name", R"({"model": {"init": "xavier"}})",
            R"(one of "default", "kaiming_normal", "xavier_normal", "small_normal")"},
        Bad{"name_in_other_case", R"({"eval": {"mode": "Full"}})", R"(one of "full", "random")"},
        Bad{"no_tokenizer", R"({"data": {"tokenizer": ""}})", "data.tokenizer: is empty"},
        Bad{"tokens_without_the_bytes", R"({"data": {"vocab_size": 256}})",
            "data.vocab_size: 256 is out of range"},
        Bad{"null_for_integer", R"({"seed": null})", "seed: null does not fit"},
        Bad{"null_for_number", R"({"optim": {"eps": null}})", "optim.eps: null does not fit"},
        Bad{"null_for_text", R"({"data": {"path": null}})", "data.path: null does not fit"},
        Bad{"null_for_boolean", R"({"deterministic": null})", "deterministic: null does not fit"},
        Bad{"null_for_name", R"({"eval": {"mode": null}})", "eval.mode: null does not fit"},
        Bad{"null_for_pair", R"({"optim": {"betas": null}})", "optim.betas: null is no pair"},
        Bad{"null_for_section", R"({"model": null})", "model: null is no object"},
        Bad{"array_for_section", R"({"model": [1]})", "model: [1] is no object; write {...}"},
        Bad{"text_for_section", R"({"model": {"moe": "8"}})", "is no object"},
        Bad{"array_for_integer", R"({"seed": [8]})", "seed: [8] does not fit"},
        Bad{"object_for_number", R"({"optim": {"eps": {}}})", "optim.eps: {} does not fit"},
        Bad{"number_for_pair", R"({"optim": {"betas": 0.9}})", "0.9 is no pair; give two numbers"},
        Bad{"pair_of_none", R"({"optim": {"betas": []}})", "[] is no pair"},
        Bad{"pair_of_one", R"({"optim": {"betas": [0.9]}})", "[0.9] is no pair"},
        Bad{"pair_of_three", R"({"optim": {"betas": [0.9, 0.9, 0.9]}})", "is no pair"},
        Bad{"pair_with_null", R"({"optim": {"betas": [0.9, null]}})", "optim.betas[1]: null"},
        Bad{"text_for_optional", R"({"optim": {"grad_clip": "none"}})", "optim.grad_clip: "},
        Bad{"fraction_for_optional", R"({"train": {"sample_interval": 1.5}})", "1.5 does not fit"}),
    name_of);

INSTANTIATE_TEST_SUITE_P(
    Bounds, BadFile,
    testing::Values(
        Bad{"below_closed", R"({"model": {"n_embed": 0}})",
            "model.n_embed: 0 is out of range; give from 1 to 16384"},
        Bad{"above_closed", R"({"model": {"n_layer": 513}})", "513 is out of range"},
        Bad{"negative", R"({"seed": -1})", "seed: -1 is out of range; give at least 0"},
        Bad{"below_least", R"({"train": {"keep_checkpoints": 1}})", "give from 2 to 1e12"},
        Bad{"no_updates", R"({"train": {"max_iters": 0}})", "give from 1 to 1e12"},
        Bad{"just_below_least", R"({"optim": {"learning_rate": 0}})",
            "optim.learning_rate: 0 is out of range; give from 1e-12 to 1e30"},
        Bad{"negative_number", R"({"optim": {"eps": -1e-8}})", "-1e-08 is out of range"},
        Bad{"just_below_closed", R"({"optim": {"weight_decay": -5e-324}})", "give from 0 to 1000"},
        Bad{"one_in_float", R"({"model": {"dropout": 0.9999999999999999}})", "give from 0 to 0.99"},
        Bad{"below_zero", R"({"model": {"dropout": -0.1}})", "give from 0 to 0.99"},
        Bad{"no_symbol", R"({"data": {"train_fraction": 1e-18}})", "from 1e-6 to 0.999999"},
        Bad{"every_symbol", R"({"data": {"train_fraction": 1}})", "from 1e-6 to 0.999999"},
        Bad{"first_of_pair", R"({"optim": {"betas": [-0.1, 0.9]}})", "optim.betas[0]: -0.1 is out"},
        Bad{"second_of_pair", R"({"optim": {"betas": [0.9, 1]}})", "optim.betas[1]: 1 is out"},
        Bad{"a_beta_that_is_one_in_float", R"({"optim": {"betas": [0.9, 0.99999999]}})",
            "betas[1]"},
        Bad{"zero_in_float", R"({"optim": {"eps": 1e-50}})", "optim.eps: 1e-50 is out of range"},
        Bad{"infinite_in_float", R"({"optim": {"learning_rate": 1e39}})", "to 1e30"},
        Bad{"optional_number", R"({"model": {"moe": {"capacity_factor": 0}}})",
            "from 0.001 to 1024"},
        Bad{"optional_integer", R"({"train": {"early_stopping_patience": 0}})", "from 1 to 1e12"},
        Bad{"least_int64", R"({"threads": -9223372036854775808})", "is out of range"},
        Bad{"most_int64", R"({"threads": 9223372036854775807})", "give from 0 to 4096"}),
    name_of);

INSTANTIATE_TEST_SUITE_P(
    Text, BadFile,
    testing::Values(Bad{"empty", "", "line 1, column 1: the text ends too early"},
                    Bad{"blank", " \n\n", "the text ends too early"},
                    Bad{"cut_off", "{\"seed\": 1", "the text ends too early"},
                    Bad{"array", "[]", "[] is no object"}, Bad{"null", "null", "null is no object"},
                    Bad{"number", "7", "7 is no object"},
                    Bad{"beyond_double", "{\"optim\": {\"eps\": 1e400}}", "1e400 is beyond"},
                    Bad{"nan", "{\"optim\": {\"eps\": NaN}}", "NaN and infinity are not JSON"},
                    Bad{"infinity", "{\"optim\": {\"eps\": Infinity}}", "NaN and infinity"},
                    Bad{"comment", "{\n  // ours\n}", "line 2, column 3: comments are not JSON"},
                    Bad{"byte_order_mark", "\xEF\xBB\xBF{}", "byte-order mark"},
                    Bad{"trailing_comma", "{\"seed\": 1,}", "does not belong here"},
                    Bad{"two_values", "{} {}", "something follows"},
                    Bad{"invalid_utf8", "{\"device\": \"\xff\"}", "invalid UTF-8"},
                    Bad{"too_deep", R"({"seed": )" + std::string(100'000, '['), "nested deeper"},
                    Bad{"deep_value",
                        R"({"seed": )" + std::string(60, '[') + std::string(60, ']') + "}",
                        "seed: [[["}),
    name_of);

class BadOverride : public testing::TestWithParam<Bad> {};

TEST_P(BadOverride, IsRefusedInOneLineThatNamesTheKey) {
  const auto message = refusal_of_set(GetParam().text);
  EXPECT_THAT(message, HasSubstr(GetParam().says));
  EXPECT_EQ(message.find('\n'), std::string::npos) << message;
}

INSTANTIATE_TEST_SUITE_P(
    Set, BadOverride,
    testing::Values(Bad{"no_equals", "seed", "--set seed: no key and value; give KEY=VALUE"},
                    Bad{"empty", "", "give KEY=VALUE"}, Bad{"no_key", "=4", "give KEY=VALUE"},
                    Bad{"no_value", "model.n_layer=", "model.n_layer: "},
                    Bad{"unknown", "model.n_layers=4",
                        "model.n_layers: unknown key; did you mean \"n_layer\"?"},
                    Bad{"extends", "extends=a.json", "extends: unknown key"},
                    Bad{"leading_dot", ".seed=1", "unknown key"},
                    Bad{"trailing_dot", "model.=1", "unknown key"},
                    Bad{"two_dots", "model..n_layer=1", "unknown key"},
                    Bad{"too_many_parts", "a.b.c.d.e=1", "a.b.c.d.e: unknown key"},
                    Bad{"below_a_leaf", "seed.x=1", "seed: "},
                    Bad{"section", "model=3", "is no object"},
                    Bad{"fraction", "model.n_layer=2.7", "model.n_layer: 2.7 does not fit"},
                    Bad{"quoted_number", "model.n_layer=\"8\"", "give a whole number"},
                    Bad{"plus", "model.n_layer=+8", "give a whole number"},
                    Bad{"blank_inside", "model.n_layer=8 9", "give a whole number"},
                    Bad{"nan", "optim.learning_rate=NaN", "optim.learning_rate: "},
                    Bad{"infinity", "optim.learning_rate=inf", "give a number"},
                    Bad{"beyond_double", "optim.learning_rate=1e400", "give a number"},
                    Bad{"true_for_number", "model.dropout=true", "true does not fit"},
                    Bad{"out_of_range", "model.dropout=1", "give from 0 to 0.99"},
                    Bad{"pair_of_one", "optim.betas=[0.9]", "is no pair"},
                    Bad{"pair_without_brackets", "optim.betas=0.9,0.99", "is no pair"},
                    Bad{"unknown_name", "eval.mode=quick", "give one of \"full\", \"random\""},
                    Bad{"duplicate_key", R"(model.moe={"top_k": 1, "top_k": 2})", "is no object"},
                    Bad{"two_keys_at_odds", "model.n_head=7",
                        "7 does not divide model.n_embed 128"}),
    name_of);

struct Good {
  const char* name;
  const char* key;
  const char* value;
};
class GoodValue : public testing::TestWithParam<Good> {};

TEST_P(GoodValue, IsTakenAsItIs) {
  const auto& [name, key, text] = GetParam();
  const auto value = parse_json(text, "value", ErrorKind::config);
  const auto config = config_from_json(tree_with(key, value), "c.json");
  EXPECT_EQ(leaf(config_to_json(config), key), value);
}

INSTANTIATE_TEST_SUITE_P(Edges, GoodValue,
                         testing::Values(Good{"least_closed", "model.n_layer", "1"},
                                         Good{"most_closed", "model.n_layer", "512"},
                                         Good{"zero_seed", "seed", "0"},
                                         Good{"most_int64", "seed", "9223372036854775807"},
                                         Good{"zero_dropout", "model.dropout", "0.0"},
                                         Good{"most_dropout", "model.dropout", "0.99"},
                                         Good{"least_rate", "optim.learning_rate", "1e-12"},
                                         Good{"integer_for_number", "optim.learning_rate", "1"},
                                         Good{"zero_betas", "optim.betas", "[0.0, 0.0]"},
                                         Good{"null_clip", "optim.grad_clip", "null"},
                                         Good{"null_interval", "train.checkpoint_interval", "null"},
                                         Good{"false", "deterministic", "false"},
                                         Good{"threads", "threads", "4096"},
                                         Good{"least_kept", "train.keep_checkpoints", "2"}),
                         [](const auto& given) { return std::string(given.param.name); });

TEST(Config, AllProblemsOfAFileAreReportedAtOnceEachWithItsPlace) {
  const Scratch scratch;
  const auto path = scratch / "c.json";
  std::ofstream(path) << R"({"sed": 1, "threads": -1, "deterministic": 1, "data": {"path": 7},
    "model": {"n_layer": 2.7, "moe": {"topk": 1, "num_experts": -1}},
    "optim": {"betas": [1, 1], "schedule": 3}})";
  const auto message = config_refusal([&] { load_config(path, {}); });
  EXPECT_EQ(std::count(message.begin(), message.end(), '\n'), 9) << message;
  for (const auto* key :
       {"sed", "threads", "deterministic", "data.path", "model.n_layer", "model.moe.topk",
        "model.moe.num_experts", "optim.betas[0]", "optim.betas[1]", "optim.schedule"})
    EXPECT_THAT("\n" + message, HasSubstr(cat("\n", path.string(), ": ", key, ": ")));
}

TEST(Config, AllProblemsOfATreeAreReportedAtOnceUnderItsName) {
  const auto message = config_refusal([] {
    config_from_json({{"seed", "a"}, {"train", {{"max_iters", 0}, {"x", 1}}}}, "RUN/config.json");
  });
  EXPECT_EQ(std::count(message.begin(), message.end(), '\n'), 2) << message;
  EXPECT_THAT(message, StartsWith("RUN/config.json: seed: "));
  EXPECT_THAT(message, HasSubstr("\nRUN/config.json: train.x: "));
}

TEST(Config, AllProblemsOfTheOverridesAreReportedAtOnce) {
  const std::vector<std::string> overrides{"seed", "sed=1", "model.n_layer=0", "threads=2"};
  const auto message = config_refusal([&] { load_config({}, overrides); });
  EXPECT_EQ(std::count(message.begin(), message.end(), '\n'), 2) << message;
}

// Failed when it was written: quotes were shown as \\x22.
TEST(Config, ARefusedTextIsShownAsItWasWritten) {
  EXPECT_THAT(refusal_of_file(R"({"model": {"n_head": "8"}})"),
              StartsWith(R"(model.n_head: "8" does not fit; give a whole number)"));
  EXPECT_THAT(refusal_of_set("eval.mode=quick"), StartsWith(R"(eval.mode: "quick" does not fit)"));
}

}  // namespace
}  // namespace moe
