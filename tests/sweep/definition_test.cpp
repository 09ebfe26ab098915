#include "moe/sweep/definition.h"

#include <gmock/gmock.h>

#include <cstdlib>
#include <sstream>

#include "moe/sweep/summary.h"
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
  const auto definition =
      defined(scratch, R"({"space": {"data.path": {"choices": ["a.txt", "../b.txt"]}}})");
  EXPECT_EQ(definition.space.parameters()[0].choices[0], (scratch / "a.txt").string());
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

}  // namespace
}  // namespace moe::sweep
