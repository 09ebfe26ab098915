#include "moe/sweep/definition.h"

#include <gmock/gmock.h>

#include <cstdlib>
#include <sstream>

#include "moe/base/text.h"
#include "moe/sweep/summary.h"
#include "moe/sweep/texts.h"
#include "tests/sweep/sample.h"

namespace moe::sweep {
namespace {

using test::defined;
using test::kGrid;
using test::message_of;
using test::Scratch;
using test::write;
using ::testing::AllOf;
using ::testing::HasSubstr;

TEST(Definition, TakesDefaultsTheBaseAndFixedValues) {
  Scratch scratch;
  write(scratch / "base.json", R"({"model": {"n_layer": 3}, "seed": 5})");
  const auto definition = defined(scratch, R"({"base": "base.json", "set": {"train.batch_size": 4},
    "space": {"optim.learning_rate": {"float": [1e-4, 1e-2], "log": true}},
    "budget": {"trials": 7, "steps": 30}})");
  EXPECT_EQ(definition.name, "sweep-file");
  EXPECT_EQ(definition.base.model.n_layer, 3);
  EXPECT_EQ(definition.base.train.batch_size, 4);
  EXPECT_EQ(definition.base.train.max_iters, 30);
  EXPECT_EQ(definition.settings.strategy.kind, StrategyKind::tpe);
  EXPECT_EQ(definition.settings.objective.metric, "val/loss");
  EXPECT_EQ(definition.trials(), 7);
}

TEST(Definition, SaysEveryProblemOfTheFileItsBaseAndItsSpaceAtOnce) {
  Scratch scratch;
  write(scratch / "base.json", R"({"model": {"n_layers": 3}})");
  const auto message = message_of<ConfigError>([&] {
    defined(scratch, R"({"base": "base.json", "set": {"train.batch_size": 0, "trian.max_iters": 3},
      "space": {"model.n_embd": {"int": [8, 16]}}, "stratgy": {}, "objective": {"direction": "up"},
      "budget": {"trials": 0}})");
  });
  EXPECT_THAT(
      message,
      AllOf(HasSubstr("did you mean \"n_layer\"?"), HasSubstr("did you mean \"n_embed\"?"),
            HasSubstr("did you mean \"strategy\"?"), HasSubstr("did you mean \"train\"?"),
            HasSubstr("batch_size"), HasSubstr("\"minimize\""), HasSubstr("budget.trials")));
}

TEST(Definition, NamesTheNearestOfAllMembers) {
  Scratch scratch;
  const auto message = message_of<ConfigError>(
      [&] { defined(scratch, R"({"spce": {}, "bas": 3, "seed": 2, "space": {}, "space": {}})"); });
  EXPECT_THAT(message, AllOf(HasSubstr("spce: unknown key; did you mean \"space\"?"),
                             HasSubstr("bas: unknown key; did you mean \"base\"?"),
                             HasSubstr("seed: unknown key; did you mean \"seeds\"?"),
                             HasSubstr("stands twice"), ::testing::Not(HasSubstr("known are"))));
}

TEST(Definition, RefusesAGridWithoutEndAndASearchWithoutBudget) {
  Scratch scratch;
  const std::string space = R"("space": {"optim.learning_rate": {"float": [1e-4, 1e-2]}})";
  EXPECT_THAT(message_of<ConfigError>(
                  [&] { defined(scratch, "{" + space + R"(, "strategy": {"kind": "grid"}})"); }),
              HasSubstr("a grid has no end"));
  EXPECT_THAT(message_of<ConfigError>([&] { defined(scratch, "{" + space + "}"); }),
              HasSubstr("budget.trials: is missing"));
}

TEST(Definition, RefusesANameThatIsNoFolders) {
  Scratch scratch;
  for (const auto* name : {"\"\"", "\"../x\"", "3", "\"a\\nb\"", "\"\\u0000\""})
    EXPECT_THAT(message_of<ConfigError>([&] {
                  defined(scratch, std::string(R"({"space": {"seed": {"int": [1, 3]}}, "name": )") +
                                       name + "}");
                }),
                HasSubstr("name: "))
        << name;
}

TEST(Definition, RefusesABaseThatItsFixedValuesMakeUnsound) {
  Scratch scratch;
  EXPECT_THAT(message_of<ConfigError>([&] {
                defined(scratch, R"({"set": {"model.moe.num_experts": 1},
                  "space": {"seed": {"int": [1, 3]}}})");
              }),
              AllOf(HasSubstr("base: "), HasSubstr("top_k")));
}

TEST(Definition, TextsToChooseFromAreNamedRelativeToTheFile) {
  Scratch scratch;
  write(scratch / "a.txt", "a");
  std::filesystem::create_directory(scratch / "in");
  const auto definition =
      defined(scratch, R"({"space": {"data.path": {"choices": ["a.txt", "in/../text.txt"]}}})");
  EXPECT_EQ(definition.space.parameters()[0].choices[0], (scratch / "a.txt").string());
}

TEST(Definition, TextsOfABaseThatIsWrittenOutAreNamedRelativeToTheFile) {
  Scratch scratch;
  write(scratch / "a.txt", "a");
  const auto definition = defined(scratch, R"({"base": {"data": {"val_path": "a.txt"}},
    "space": {"optim.learning_rate": {"choices": [0.01]}}})");
  EXPECT_EQ(definition.base.data.val_path, (scratch / "a.txt").string());
}

TEST(Definition, RefusesTwoSourcesOfOneKey) {
  Scratch scratch;
  EXPECT_THAT(message_of<ConfigError>([&] {
                defined(scratch,
                        R"({"space": {"seed": {"int": [1, 3]}, "train.max_iters": {"int": [5, 6]}},
                  "seeds": 2, "budget": {"trials": 2, "steps": 4}})");
              }),
              AllOf(HasSubstr("seeds: "), HasSubstr("budget.steps: ")));
}

TEST(Definition, ATextThatIsNotThereIsADataErrorWithARemedy) {
  Scratch scratch;
  write(scratch / "file.json", kGrid);
  EXPECT_THAT(
      message_of<DataError>([&] { load_definition(scratch / "file.json", "/absent/text"); }),
      AllOf(HasSubstr("/absent/text"), HasSubstr("--data")));
  EXPECT_THAT(message_of<DataError>([&] { load_definition(scratch / "file.json", ""); }),
              HasSubstr("no text is named"));
}

TEST(Definition, CountsPointsTimesSeedsAndNoMoreThanTheBudget) {
  Scratch scratch;
  EXPECT_EQ(defined(scratch, kGrid).trials(), 6);
  EXPECT_EQ(defined(scratch, R"({"seeds": 3, "strategy": {"kind": "grid"},
    "space": {"model.moe.num_experts": {"choices": [2, 4]}}})")
                .trials(),
            6);
  EXPECT_EQ(
      defined(scratch, R"({"budget": {"trials": 50}, "space": {"model.n_layer": {"int": [1, 4]}}})")
          .trials(),
      4);
}

TEST(Definition, TheDocumentNamesEveryKey) {
  const auto* source = std::getenv("MAKEMOE_SOURCE_DIR");
  if (source == nullptr) GTEST_SKIP() << "MAKEMOE_SOURCE_DIR is not set";
  const auto document = test::read(std::filesystem::path(source) / "docs/sweeps.md");
  std::istringstream lines(describe_settings());
  for (std::string line; std::getline(lines, line);) {
    const auto key = line.substr(0, line.find(' '));
    EXPECT_THAT(document, ::testing::HasSubstr("| `" + key + "` |")) << line;
  }
}

TEST(OpenSweep, KeepsADefinitionThatReadsBackTheSame) {
  Scratch scratch;
  FileLayer files;
  const auto definition = defined(scratch, kGrid);
  open_sweep(scratch / "dir", definition, false, files);
  const auto back = read_definition(scratch / "dir");
  EXPECT_EQ(definition_to_json(back), definition_to_json(definition));
  EXPECT_EQ(back.name, "sweep-file");
  EXPECT_NO_THROW(open_sweep(scratch / "dir", definition, false, files));
}

TEST(OpenSweep, RefusesAChangedFileWithTheDifferenceUnlessAsked) {
  Scratch scratch;
  FileLayer files;
  auto definition = defined(scratch, kGrid);
  open_sweep(scratch / "dir", definition, false, files);
  definition.settings.budget.trials = 3;
  definition.base.model.n_embed = 64;
  const auto message =
      message_of<ConfigError>([&] { open_sweep(scratch / "dir", definition, false, files); });
  EXPECT_THAT(message, AllOf(HasSubstr("/budget/trials: null in the sweep, 3 now"),
                             HasSubstr("/base/model/n_embed: 128 in the sweep, 64 now"),
                             HasSubstr("--allow-changes")));
  EXPECT_EQ(read_definition(scratch / "dir").base.model.n_embed, 128);
  open_sweep(scratch / "dir", definition, true, files);
  EXPECT_EQ(read_definition(scratch / "dir").base.model.n_embed, 64);
}

TEST(OpenSweep, LeavesAFolderOfSomethingElseAlone) {
  Scratch scratch;
  FileLayer files;
  const auto definition = defined(scratch, kGrid);
  EXPECT_THROW(open_sweep(scratch.path(), definition, false, files), ResourceError);
  EXPECT_THROW(open_sweep(scratch / "text.txt", definition, true, files), ResourceError);
  EXPECT_THAT(message_of<ConfigError>([&] { read_sweep(scratch.path()); }),
              HasSubstr("is no sweep"));
}

std::string metric_problem(const std::string& metric, const std::string& more = "") {
  Scratch scratch;
  return message_of<ConfigError>([&] {
    defined(scratch, R"({"space": {"model.n_layer": {"int": [2, 4]}}, "strategy": {"kind": "grid"},
      "objective": {"metric": ")" +
                         metric + "\"}" + more + "}");
  });
}

TEST(Definition, AMistypedMetricIsRefusedWithTheNearestName) {
  EXPECT_THAT(metric_problem("val/los"), HasSubstr("did you mean \"val/loss\"?"));
  EXPECT_THAT(metric_problem("moe/layer1/max_laod"),
              HasSubstr("did you mean \"moe/layer1/max_load\"?"));
  EXPECT_THAT(metric_problem("moe/layer01/max_load"), HasSubstr("is no metric"));
}

TEST(Definition, AMetricThatIsAListOrThatNotEveryTrialWritesIsRefusedWithTheReason) {
  EXPECT_THAT(metric_problem("moe/layer0/load"),
              AllOf(HasSubstr("is a list"), HasSubstr("e.g. moe/layer0/max_load")));
  EXPECT_THAT(metric_problem("moe/layer1/gate_mass"), HasSubstr("is a list"));
  EXPECT_THAT(metric_problem("moe/layer2/max_load"), HasSubstr("layers 0 to 1"));
  EXPECT_THAT(metric_problem("moe/dropped_fraction"), HasSubstr("capacity_factor"));
  EXPECT_THAT(metric_problem("moe/layer0/noise_std", R"(, "set": {"model.moe.router": "topk"})"),
              HasSubstr("noisy_topk"));
  EXPECT_THAT(metric_problem("train/balance_loss"), HasSubstr(R"(has {"kind": "switch"})"));
  EXPECT_THAT(
      metric_problem("train/load_loss", R"(, "set": {"model.moe.balance": [{"kind": "switch"}]})"),
      HasSubstr("importance_load"));
  EXPECT_THAT(metric_problem("moe/layer1/max_load", R"(, "set": {"model.moe.dense_layers": [1]})"),
              HasSubstr("is of layer 1, which model.moe.dense_layers gives no router"));
  EXPECT_THAT(metric_problem("train/z_loss"), HasSubstr("model.moe.z_loss is above 0"));
}

TEST(Definition, MetricsThatEveryTrialWritesAreTaken) {
  for (const auto* metric : {"grad_norm", "moe/layer1/load_cv", "moe/layer0/max_vio",
                             "moe/layer0/noise_std", "moe/dropped_fraction",
                             "moe/layer1/dropped_fraction", "train/balance_loss", "train/z_loss"}) {
    Scratch scratch;
    defined(scratch, cat(R"({"space": {"model.n_layer": {"int": [2, 4]}}, "set":
      {"model.moe.capacity_factor": 1, "model.moe.balance": {"kind": "switch"},
       "model.moe.z_loss": 0.1}, "strategy": {"kind": "grid"}, "objective": {"metric": ")",
                         metric, "\"}}"));
  }
}

/// The names of the tables of docs/metrics.md are the metrics that a sweep knows.
TEST(Definition, KnowsTheMetricsOfTheDocs) {
  const auto* source = std::getenv("MAKEMOE_SOURCE_DIR");
  ASSERT_NE(source, nullptr);
  std::istringstream docs(test::read(std::filesystem::path(source) / "docs/metrics.md"));
  const auto known = metric_problem("x");
  int names = 0;
  for (std::string line; std::getline(docs, line);) {
    if (line.starts_with("`RUN/routing.json`")) break;  // whose keys are no metrics
    if (!line.starts_with("| `") || line.find("...") < line.find("|", 2)) continue;
    const auto name = line.substr(3, line.find('`', 3) - 3);
    ++names;
    if (name == "moe/layerL/load" || name == "moe/layerL/gate_mass") continue;  // lists
    EXPECT_THAT(known, HasSubstr(name));
  }
  EXPECT_GE(names, 20);
}

TEST(Definition, KeepsTheSumOfEveryTextThatATrialMayRead) {
  Scratch scratch;
  write(scratch / "b.txt", "b");
  write(scratch / "v.txt", "v");
  const auto definition =
      defined(scratch, R"({"set": {"data.val_path": "v.txt"}, "strategy": {"kind": "grid"},
        "space": {"data.path": {"choices": ["text.txt", "b.txt"]}}})");
  ASSERT_EQ(definition.texts.size(), 3u);
  EXPECT_EQ(definition.texts.at((scratch / "b.txt").string()),
            "3e23e8160039594a33894f6564e1b1348bbd7a0088d42c4acb73eeaed59c009d");
  FileLayer files;
  open_sweep(scratch / "sweep", definition, false, files);
  EXPECT_EQ(read_definition(scratch / "sweep").texts, definition.texts);
  // sweep.json is a sweep file, too.
  EXPECT_EQ(load_definition(scratch / "sweep/sweep.json", "").texts, definition.texts);
  write(scratch / "v.txt", "w");
  EXPECT_THAT(message_of<DataError>([&] { load_definition(scratch / "sweep/sweep.json", ""); }),
              HasSubstr("v.txt: is not the text"));
}

TEST(Definition, SeveralFilesHaveOneSumAndOneOfThemIsNotToChange) {
  Scratch scratch;
  std::filesystem::create_directory(scratch / "a");
  write(scratch / "a/1.txt", "1");
  write(scratch / "a/2.txt", "2");
  defined(scratch, R"({"set": {"data.path": ["a", "text.txt"]}, "strategy": {"kind": "grid"},
    "space": {"seed": {"int": [1, 2]}}})");
  const auto definition = load_definition(scratch / "sweep-file.json", "");
  ASSERT_EQ(definition.texts.size(), 1u);
  const auto& [key, sum] = *definition.texts.begin();
  EXPECT_EQ(key, json_text(Json(definition.base.data.path.all())));
  TextWatch watch(definition.texts);
  watch.check(definition.base);
  EXPECT_EQ(watch.sum_of(definition.base), sum);
  write(scratch / "a/3.txt", "3");
  EXPECT_THAT(message_of<DataError>([&] { watch.check(definition.base); }),
              HasSubstr("and 1 more: is not the text that the sweep began with"));
}

TEST(Definition, ATextThatIsNoRegularFileOrWhosePathIsNotUtf8IsRefused) {
  Scratch scratch;
  write(scratch / "s.json",
        R"({"space": {"seed": {"int": [1, 2]}}, "strategy": {"kind": "grid"}})");
  const auto refusal = [&](const std::string& text) {
    return message_of<DataError>([&] { load_definition(scratch / "s.json", text); });
  };
  EXPECT_THAT(refusal("/dev/null"), HasSubstr("is no regular file"));
  EXPECT_THAT(refusal((scratch / "*.md").string()), HasSubstr("no file fits this pattern"));
  const auto path = (scratch / "caf\xE9.txt").string();
  write(path, "text");
  EXPECT_THAT(refusal(path), AllOf(HasSubstr("not UTF-8"), HasSubstr("caf\\xe9.txt")));
}

TEST(Space, AShortKeyIsTheShortestEndThatNoOtherHas) {
  const auto space = test::parsed(R"({"optim.learning_rate": {"float": [1, 2]},
    "optim.kind": {"choices": ["a", "b"]}, "optim.schedule.kind": {"choices": ["a", "b"]},
    "seed": {"int": [1, 2]}})");
  EXPECT_THAT(short_keys(space),
              ::testing::ElementsAre("learning_rate", "optim.kind", "schedule.kind", "seed"));
}

}  // namespace
}  // namespace moe::sweep
