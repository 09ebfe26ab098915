#include "moe/store/checkpoints.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <fstream>
#include <string>
#include <vector>

#include "moe/config/load.h"
#include "tests/base/scratch.h"
#include "tests/support/stored_checkpoint.h"

// Which checkpoint a name means. Weights are a few bytes here: nothing looks into them.

namespace moe {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

void write(const fs::path& path, const std::string& text) {
  std::ofstream(path, std::ios::binary) << text;
}

class Names : public ::testing::Test {
 protected:
  Names() {
    fs::create_directories(run / "checkpoints");
    write(run / "config.json", json_text(config_to_json(config)));
    write(run / "run.json", R"({"data": {"sha256": "ab"}})");
  }

  fs::path folder(std::int64_t step) const { return test::checkpoint_folder(run, step); }
  void save(std::int64_t step, std::int64_t best_step, const std::string& sha256 = "ab") {
    test::store_checkpoint(run, {step, best_step, sha256}, config);
  }
  void damage(std::int64_t step) const { write(folder(step) / "model.safetensors", "x"); }

  std::int64_t step_of_name(const std::string& which) {
    notices.clear();
    return load_checkpoint(run.string() + which, notices).ref.step;
  }
  std::string refusal(const std::string& which) {
    try {
      step_of_name(which);
    } catch (const CheckpointError& error) {
      return error.what();
    }
    return "";
  }

  RunConfig config;
  test::Scratch scratch;
  fs::path run = scratch / "run";
  std::vector<std::string> notices;
};

TEST_F(Names, EveryFormIsFound) {
  save(1, 1);
  save(2, 1);
  EXPECT_EQ(step_of_name(""), 1);
  EXPECT_EQ(step_of_name("@best"), 1);
  EXPECT_EQ(step_of_name("@last"), 2);
  EXPECT_EQ(step_of_name("@2"), 2);
  EXPECT_EQ(step_of_name("/checkpoints/step-00000001"), 1);
  EXPECT_THAT(notices, IsEmpty());
  EXPECT_THAT(refusal("@3"), HasSubstr("no checkpoint of step 3; name one of its steps, 2, 1"));
  EXPECT_THAT(refusal("@soon"), HasSubstr("none of @best, @last, @STEP"));
  EXPECT_THAT(refusal("-absent"), HasSubstr("no such run or checkpoint"));
}

TEST_F(Names, HintsDecideNothing) {
  save(1, 1);
  save(2, 1);
  for (const auto* hint : {"step-00000002\n", "../../elsewhere\n", ""}) {
    for (const auto* name : {"best", "last"}) write(run / "checkpoints" / name, hint);
    EXPECT_EQ(step_of_name("@best"), 1);
    EXPECT_EQ(step_of_name("@last"), 2);
  }
}

TEST_F(Names, ARunThatWasNeverEvaluatedHasNoBest) {
  save(0, -1);
  EXPECT_EQ(step_of_name(""), 0);
  EXPECT_THAT(notices, IsEmpty());
  EXPECT_THAT(refusal("@best"), HasSubstr("no best checkpoint"));
}

TEST_F(Names, ABestStepWithoutACheckpointIsSaidUnlessItIsTheUntrainedModel) {
  save(3, 2);
  EXPECT_EQ(step_of_name(""), 3);
  EXPECT_THAT(notices, ElementsAre(HasSubstr("its best step, 2, has no checkpoint; name one of")));
  EXPECT_THAT(refusal("@best"), HasSubstr("its best step, 2, has no checkpoint"));
  save(3, 0);
  EXPECT_EQ(step_of_name(""), 3);
  EXPECT_THAT(notices, IsEmpty());
  EXPECT_THAT(refusal("@best"), HasSubstr("no step after 0 was the best"));
}

TEST_F(Names, TheNewestSoundStateDecidesBesideDamage) {
  save(1, 1);
  save(2, 1);
  save(3, 3);
  damage(3);
  EXPECT_EQ(step_of_name("@last"), 2);
  EXPECT_THAT(notices, ElementsAre(HasSubstr("step-00000003/model.safetensors")));
  EXPECT_EQ(step_of_name("@best"), 1);
  EXPECT_THAT(refusal("@3"), HasSubstr("model.safetensors"));
  damage(1);
  EXPECT_EQ(step_of_name(""), 2) << "its best, else its last";
  EXPECT_THAT(notices.back(), HasSubstr("step-00000001/model.safetensors"));
  EXPECT_THAT(refusal("@best"), HasSubstr("step-00000001/model.safetensors"));
  damage(2);
  EXPECT_THAT(refusal("@last"), HasSubstr("every checkpoint is damaged;"));
}

TEST_F(Names, AnotherSeedAnotherTextOrAnotherNameIsNotTheRuns) {
  save(1, 1);
  save(2, 2, "cd");
  save(3, 3);
  fs::rename(folder(3), folder(4));
  config.seed = 8;
  save(5, 5);
  EXPECT_EQ(step_of_name("@last"), 1);
  EXPECT_THAT(notices, ElementsAre(HasSubstr("is of another run: seed: 1337"),
                                   HasSubstr("step-00000004: holds step 3"),
                                   HasSubstr("its text is another")));
  fs::remove_all(folder(1));
  EXPECT_THAT(refusal("@last"), HasSubstr("every checkpoint is damaged or of another run;"));
}

TEST_F(Names, WhatARunMayChangeOnResumeMakesNoStranger) {
  save(1, 1);
  config.train.max_iters = 9;
  config.train.early_stopping_patience = 3;
  config.threads = 2;
  save(2, 2, "");  // an import has learned from no text
  EXPECT_EQ(step_of_name("@last"), 2);
}

TEST_F(Names, ARunThatSaysNothingOfItselfTakesEachForItsOwn) {
  save(1, 1);
  config.seed = 8;
  save(2, 2, "cd");
  for (const auto* name : {"config.json", "run.json"}) write(run / name, "{");
  EXPECT_EQ(step_of_name("@last"), 2);
}

// A run that trains publishes a checkpoint and removes an older one while this is loaded.
TEST_F(Names, AreLookedUpAgainWhereTheCheckpointGoesWhileItIsLoaded) {
  for (const auto* which : {"@last", "@best", ""}) {
    save(1, 1);
    std::vector<std::int64_t> steps;
    const auto info = load_checkpoint(run.string() + which, notices, [&](const auto& loaded) {
      steps.push_back(loaded.ref.step);
      if (steps.size() == 3) return;
      save(loaded.ref.step + 1, loaded.ref.step + 1);
      fs::remove_all(loaded.ref.folder);
      read_checkpoint_info(loaded.ref);
    });
    EXPECT_THAT(steps, ElementsAre(1, 2, 3));
    EXPECT_EQ(info.ref.step, 3);
    EXPECT_THAT(notices, IsEmpty());
    fs::remove_all(folder(3));
  }
}

TEST_F(Names, AreNotLookedUpForever) {
  save(1, 1);
  int loads = 0;
  const auto load = [&](const CheckpointInfo& loaded) {
    ++loads;
    save(loaded.ref.step + 1, 1);
    fs::remove_all(loaded.ref.folder);
    read_checkpoint_info(loaded.ref);
  };
  try {
    load_checkpoint(run.string() + "@last", notices, load);
    ADD_FAILURE() << "nothing was thrown";
  } catch (const CheckpointError& error) {
    EXPECT_THAT(error.what(), HasSubstr("removed while they were read, 5 times; wait"));
  }
  EXPECT_EQ(loads, 5);
}

TEST_F(Names, AreNotLookedUpAgainForDamage) {
  save(1, 1);
  int loads = 0;
  const auto load = [&](const CheckpointInfo&) {
    ++loads;
    throw CheckpointError("damaged");
  };
  EXPECT_THROW(load_checkpoint(run.string(), notices, load), CheckpointError);
  EXPECT_EQ(loads, 1);
}

TEST_F(Names, AreNotLookedUpAgainBecauseTheRunSavedAnotherMeanwhile) {
  save(1, 1);
  int loads = 0;
  const auto load = [&](const CheckpointInfo& info) {
    ++loads;
    save(info.ref.step + 1, 1);
    throw CheckpointError("damaged");
  };
  EXPECT_THROW(load_checkpoint(run.string() + "@last", notices, load), CheckpointError);
  EXPECT_EQ(loads, 1);
}

}  // namespace
}  // namespace moe
