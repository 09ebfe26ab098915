#include "moe/tracking/trackers.h"

#include <gtest/gtest.h>

#include "tests/tracking/run.h"

namespace moe {
namespace {

using test::ScratchRun;
using test::steps_of;

struct Followed {
  explicit Followed(const Json& start) {
    run.folder.write_json("run.json", {{"start", start}});
    config.tracking.mlflow.uri = "none";
    config.tracking.tensorboard = true;
  }
  ScratchRun run;
  RunConfig config;
  Log log;
};

TEST(Trackers, ARowGoesToTheRunFolderAndToWhatTheConfigAsksFor) {
  Followed followed("2025-11-24T00:20:00Z");
  Trackers trackers(followed.run.folder, followed.config, followed.run.files, followed.log);
  trackers.write({1, 0, 0, {{"lr", 0.5}}});
  trackers.end();
  EXPECT_EQ(steps_of(followed.run.metrics()), std::vector<std::int64_t>{1});
  const auto events = followed.run.folder.path() / "events.out.tfevents.1763943600.makemoe.0001";
  EXPECT_NE(test::content(events).find("lr"), std::string::npos);
}

// A run.json that others wrote was a type error in the reader, and so a bug's exit code.
TEST(Trackers, AStartThatIsNoTimeIsTakenForNone) {
  for (const auto& start : {Json(5), Json(nullptr), Json::array(), Json("yesterday")}) {
    Followed followed(start);
    Trackers trackers(followed.run.folder, followed.config, followed.run.files, followed.log);
    EXPECT_NO_THROW(trackers.write({1, 0, 0, {{"lr", 0.5}}}));
    EXPECT_TRUE(fs::exists(followed.run.folder.path() / "events.out.tfevents.0.makemoe.0001"));
  }
}

}  // namespace
}  // namespace moe
