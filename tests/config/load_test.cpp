#include "moe/config/load.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <string>
#include <vector>

#include "moe/base/random.h"
#include "moe/base/text.h"
#include "tests/config/sample.h"

namespace moe {
namespace {

namespace fs = std::filesystem;
using test::config_refusal;
using test::every_key_changed;
using test::leaves;
using test::Scratch;
using test::unequal;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::StartsWith;

using Overrides = std::vector<std::string>;

fs::path write(const fs::path& path, const std::string& text) {
  fs::create_directories(path.parent_path());
  std::ofstream(path) << text;
  return path;
}

TEST(Config, EveryBuiltInDefaultIsTheContracts) {
  const auto expected = R"({
    "seed": 1337, "device": "auto", "threads": 0, "deterministic": true,
    "data": {"path": "", "val_path": "", "cache": "", "train_fraction": 0.9, "tokenizer": "char",
      "vocab_size": 4096, "order": "random"},
    "model": {"n_embed": 128, "n_head": 8, "n_layer": 8, "block_size": 32, "dropout": 0.1,
      "dropouts": {"embedding": null, "attention": null, "residual": null, "expert": null},
      "init": "default", "init_embedding_std": null, "init_zero_outputs": false,
      "attention_scale": "head_size", "norm": "layer", "positions": "learned",
      "rotary_base": 10000.0, "qk_norm": "none", "qk_gain": 1.0, "short_conv": 0, "x0_shortcut": false,
      "ngram": {"orders": [], "min_count": 5, "max_rows": null, "dropout": 0.0},
      "value_residual": false, "bias": true,
      "tied": false, "kernels": "fast",
      "moe": {"num_experts": 8, "top_k": 2, "router": "noisy_topk", "gate": "topk_softmax",
        "activation": "relu", "expert_width": null,
        "noise_in_eval": false, "capacity_factor": null, "gate_norm": true, "gate_scale": 1.0,
        "balance": [], "z_loss": 0.0, "router_init_std": null, "jitter": 0.0, "hash_layers": [],
        "shared_experts": 0, "shared_gate": false, "dense_layers": [], "dense_width": null}},
    "optim": {"kind": "adamw", "learning_rate": 0.001, "betas": [0.9, 0.999], "eps": 1e-8, "weight_decay": 0.01,
      "cautious_decay": false, "decay_schedule": "constant", "grad_clip": null,
      "schedule": {"kind": "constant", "warmup_iters": 0, "final_learning_rate": 0.0,
        "decay_fraction": 0.2},
      "groups": {"embedding": {"learning_rate_scale": 1.0, "weight_decay": null},
        "head": {"learning_rate_scale": 1.0, "weight_decay": null},
        "router": {"learning_rate_scale": 1.0, "weight_decay": null},
        "norm": {"learning_rate_scale": 1.0, "weight_decay": null},
        "matrix": {"learning_rate_scale": 1.0, "weight_decay": null},
        "expert": {"learning_rate_scale": 1.0, "weight_decay": null},
        "table": {"learning_rate_scale": 1.0, "weight_decay": null}},
      "muon": {"learning_rate": 0.002, "weight_decay": 0.1, "momentum": 0.95,
        "coefficients": "polar_express", "every": 1},
      "momentum_schedule": {"start": 0.85, "warmup_iters": 0},
      "average": {"start": null, "tau": 200.0, "blend": 0.6}},
    "train": {"max_iters": 5000, "batch_size": 16, "eval_interval": 100, "grad_accumulation": 1,
      "precision": "float32", "capture": true, "checkpoint_interval": null, "keep_checkpoints": 2,
      "early_stopping_patience": null, "log_interval": 10, "sample_interval": null},
    "eval": {"mode": "full", "eval_iters": 400, "stride": null},
    "tracking": {"tensorboard": false, "mlflow": {"uri": "", "experiment": "makemoe",
      "run_name": "", "artifacts": "files", "exit_wait": 5.0}}})";
  const auto shown = json_text(config_to_json(load_config({}, {})));
  EXPECT_EQ(nlohmann::json::parse(shown), nlohmann::json::parse(expected));  // whatever the order
}

TEST(Config, TheShippedConfigsLoadAndThePublishedOneHasItsQuirks) {
  const auto* root = std::getenv("MAKEMOE_SOURCE_DIR");
  ASSERT_NE(root, nullptr);
  const auto folder = fs::path(root) / "configs";
  for (const auto* name : {"small.json", "tiny.json"})
    EXPECT_THAT(unequal(load_config(folder / name, {}), {}), testing::Contains("model.n_layer"));
  for (const auto* name :
       {"quickstart.json", "minute.json", "longer.json", "modern.json", "modern-adamw.json"})
    EXPECT_THAT(unequal(load_config(folder / name, {}), {}), testing::Contains("model.qk_norm"));
  const auto published = load_config(folder / "makemoe.json", {});
  EXPECT_THAT(unequal(published, {}), ElementsAre("model.init", "model.attention_scale",
                                                  "model.moe.noise_in_eval", "eval.mode"));
}

TEST(Config, DefaultsGiveWayToExtendsToTheFileToSet) {
  const Scratch scratch;
  write(scratch / "base.json",
        R"({"seed": 1, "threads": 1, "model": {"n_layer": 1, "moe": {"top_k": 1,
        "gate": "softmax_topk"}}})");
  const auto file =
      write(scratch / "c.json",
            R"({"model": {"n_layer": 2, "n_head": 4}, "extends": "base.json", "threads": 2})");
  const auto config = load_config(file, Overrides{"threads=3"});
  EXPECT_EQ(config.seed, 1);
  EXPECT_EQ(config.threads, 3);
  EXPECT_EQ(config.model.n_layer, 2);
  EXPECT_EQ(config.model.n_head, 4);
  EXPECT_EQ(config.model.moe.top_k, 1);
  EXPECT_THAT(unequal(config, {}), testing::SizeIs(6)) << "everything else is built in";
}

TEST(Config, ExtendsGoesOnAndEachPathIsRelativeToTheFileThatNamesIt) {
  const Scratch scratch;
  write(scratch / "a/texts/base.json",
        R"({"seed": 5, "data": {"path": "t.txt", "val_path": "v.txt"}})");
  write(scratch / "a/middle.json", R"({"extends": "texts/base.json", "threads": 2})");
  const auto file = write(scratch / "b/c.json",
                          R"({"extends": "../a/middle.json", "data": {"val_path": "../w.txt"}})");
  for (const auto& named : {file, fs::proximate(file)}) {
    const auto config = load_config(named, {});
    EXPECT_EQ(config.seed, 5);
    EXPECT_EQ(config.threads, 2);
    EXPECT_EQ(config.data.path.shown(), scratch / "a/texts/t.txt");
    EXPECT_EQ(config.data.val_path.shown(), scratch / "w.txt");
  }
}

TEST(Config, EachPathOfAListIsRelativeToItsFileAndSoIsTheCache) {
  const Scratch scratch;
  const auto file = write(scratch / "c.json",
                          R"({"data": {"path": ["t.txt", "/x.txt", "a/*.md"], "cache": "ids"}})");
  const auto config = load_config(file, {});
  EXPECT_THAT(config.data.path.all(),
              ElementsAre((scratch / "t.txt").string(), "/x.txt", (scratch / "a/*.md").string()));
  EXPECT_EQ(config.data.cache, scratch / "ids");
}

TEST(Config, AbsolutePathsStayAndEmptyOnesStayEmpty) {
  const Scratch scratch;
  const auto file = write(scratch / "c.json", R"({"data": {"path": "/x/t.txt", "val_path": ""}})");
  const auto config = load_config(file, {});
  EXPECT_EQ(config.data.path, "/x/t.txt");
  EXPECT_EQ(config.data.val_path, "");
}

TEST(Config, ASchemaReferenceIsAllowedInAFile) {
  const Scratch scratch;
  const auto file = write(scratch / "c.json", R"({"$schema": "https://x/y.json", "seed": 4})");
  EXPECT_EQ(load_config(file, {}).seed, 4);
}

struct Circle {
  const char* name;
  std::vector<const char*> extends;  // file i extends the i-th
};
class ExtendsInACircle : public testing::TestWithParam<Circle> {};

TEST_P(ExtendsInACircle, IsRefused) {
  const Scratch scratch;
  fs::create_symlink("0.json", scratch / "link.json");
  const auto& extends = GetParam().extends;
  for (std::size_t i = 0; i < extends.size(); ++i)
    write(scratch / cat(i, ".json"), cat(R"({"extends": ")", extends[i], "\"}"));
  const auto message = config_refusal([&] { load_config(scratch / "0.json", {}); });
  EXPECT_THAT(message, HasSubstr("extends itself in a circle"));
  EXPECT_THAT(message, StartsWith(scratch.path().string()));
}

INSTANTIATE_TEST_SUITE_P(Config, ExtendsInACircle,
                         testing::Values(Circle{"itself", {"0.json"}},
                                         Circle{"itself_by_a_detour", {"./x/../0.json"}},
                                         Circle{"two_files", {"1.json", "0.json"}},
                                         Circle{"not_the_first", {"1.json", "2.json", "1.json"}},
                                         Circle{"through_a_link", {"1.json", "link.json"}}),
                         [](const auto& given) { return std::string(given.param.name); });

TEST(Config, AFileThatIsNotThereIsNamedExtendedOrNot) {
  const Scratch scratch;
  const auto file = write(scratch / "c.json", R"({"extends": "gone.json"})");
  for (const auto& path : {file, scratch / "gone.json"})
    EXPECT_THAT(config_refusal([&] { load_config(path, {}); }),
                StartsWith((scratch / "gone.json").string() + ": cannot be read"));
  EXPECT_THAT(config_refusal([&] { load_config(scratch.path(), {}); }), HasSubstr("is a folder"));
  write(file, R"({"extends": ""})");
  EXPECT_THAT(config_refusal([&] { load_config(file, {}); }), HasSubstr("is a folder"));
}

TEST(Config, AProblemInAnExtendedFileNamesThatFile) {
  const Scratch scratch;
  const auto base = write(scratch / "base.json", R"({"sed": 1})");
  const auto file = write(scratch / "c.json", R"({"extends": "base.json"})");
  EXPECT_THAT(config_refusal([&] { load_config(file, {}); }),
              StartsWith(base.string() + ": sed: "));
}

TEST(Config, SetTakesJsonAndPlainTextAndTheLastOneStands) {
  const auto config = load_config(
      {}, Overrides{"model.n_layer=4", "eval.mode=random", "model.init=\"xavier_normal\"",
                    "optim.betas=[0.5, 0.25]", "optim.grad_clip=1", "optim.grad_clip=null",
                    "deterministic=false", R"(model.moe={"num_experts": 4})", "model.moe.top_k=3",
                    "device=cuda:0", "optim.learning_rate=1e-2", "seed=1", "seed=2"});
  RunConfig expected;
  expected.model.n_layer = 4;
  expected.eval.mode = EvalMode::random;
  expected.model.init = Init::xavier_normal;
  expected.optim.betas = {0.5, 0.25};
  expected.deterministic = false;
  expected.model.moe.num_experts = 4;
  expected.model.moe.top_k = 3;
  expected.device = "cuda:0";
  expected.optim.learning_rate = 0.01;
  expected.seed = 2;
  EXPECT_THAT(unequal(config, expected), IsEmpty());
}

TEST(Config, PathsGivenWithSetBecomeAbsolute) {
  const auto config = load_config({}, Overrides{"data.path=x/../a=b.txt", "data.val_path=/v.txt"});
  EXPECT_EQ(config.data.path.shown(), fs::current_path() / "a=b.txt");
  EXPECT_EQ(config.data.val_path, "/v.txt");
  EXPECT_EQ(load_config({}, Overrides{"data.path="}).data.path, "");
}

TEST(Config, WhatIsWrittenReadsBackAsTheSameConfig) {
  const auto round_trip = [](const RunConfig& config) {
    const auto text = json_text(config_to_json(config), 2);
    return config_from_json(parse_json(text, "text", ErrorKind::config), "text");
  };
  const auto changed = every_key_changed();
  ASSERT_EQ(unequal(changed, {}).size(), leaves(config_to_json({})).size())
      << "no key is at its default";
  EXPECT_THAT(unequal(round_trip(changed), changed), IsEmpty());
  EXPECT_THAT(unequal(round_trip({}), {}), IsEmpty());
  Generator random(7);
  for (int i = 0; i < 500; ++i) {
    RunConfig config;
    config.optim.learning_rate = 1e-12 + random.uniform() * std::pow(10.0, i % 40 - 11);
    config.optim.betas = {0.999 * random.uniform(), 0.999 * random.uniform()};
    config.model.dropout = 0.99 * random.uniform();
    EXPECT_THAT(unequal(round_trip(config), config), IsEmpty());
  }
}

// Each of these failed when it was written.

// "extends" was judged before the rest of the file, and its value was not shown.
TEST(Config, AnIllTypedExtendsIsReportedWithTheOtherProblemsOfItsFile) {
  const Scratch scratch;
  const auto file = write(scratch / "c.json", R"({"extends": 5, "sed": 1})");
  const auto message = config_refusal([&] { load_config(file, {}); });
  EXPECT_THAT(message, testing::ContainsRegex(": extends: 5 [^\n]*; [^\n]*quotes"));
  EXPECT_THAT(message, HasSubstr(": sed: "));
}

// Rules of several keys were looked at only where each key alone was sound.
TEST(Config, ProblemsOfOneKeyAndOfSeveralAreReportedAtOnce) {
  const Scratch scratch;
  const auto file = write(scratch / "c.json", R"({"sed": 1, "model": {"n_head": 7}})");
  const auto message = config_refusal([&] { load_config(file, {}); });
  EXPECT_THAT(message, HasSubstr(": sed: "));
  EXPECT_THAT(message, HasSubstr("model.n_head: 7 does not divide"));
}

// It was the base class, which a catch of ConfigError misses.
TEST(Config, ATextThatIsNoJsonIsAConfigErrorToo) {
  const Scratch scratch;
  const auto file = write(scratch / "c.json", "{");
  EXPECT_THROW(load_config(file, {}), ConfigError);
  EXPECT_THROW(load_config(scratch / "gone.json", {}), ConfigError);
}

}  // namespace
}  // namespace moe
