#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <string>
#include <vector>

#include "moe/config/load.h"
#include "src/tracking/mlflow_run.h"
#include "tests/support/stored_checkpoint.h"
#include "tests/tracking/fake_mlflow.h"
#include "tests/tracking/run.h"

// A run folder and its counterpart on a server that fails in every way.

namespace moe::tracking {
namespace {

using test::FakeMlflow;
using test::message_of;
using test::names_in;
using test::ScratchRun;
using test::write;
using testing::AllOf;
using testing::Contains;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::Key;
using testing::Not;
using testing::Pair;
using testing::SizeIs;
using Fault = FakeMlflow::Fault;

constexpr std::int64_t kStart = 1763943600000;  // 2025-11-24T00:20:00Z [ms]

/// A run of some rows, as training leaves it, and a server.
struct Tracked {
  explicit Tracked(const char* fault = nullptr) : run(fault) {
    write(run.folder.path() / "config.json", "{}");
    end_as("running");
  }
  void end_as(const std::string& status) {
    const Json facts = {{"status", status},  {"start", "2025-11-24T00:20:00Z"},
                        {"end", nullptr},    {"host", "h"},
                        {"best_step", 2},    {"best_val_loss", 1.5},
                        {"version", "0.1.0"}};
    write(run.folder.path() / "run.json", json_text(facts));
  }
  void train(std::int64_t first, std::int64_t last) {
    for (auto step = first; step <= last; ++step) {
      const auto x = static_cast<double>(step);
      run.folder.write({step, x / 8, step, {{"train/step_loss", 1 / (1 + x)}, {"lr", 0.001}}});
      if (step % 2 == 0)
        run.folder.write({step, x / 8, step, {{"val/loss", x}}, {{"moe/load", {0.25, 0.75}}}});
    }
  }
  MlflowRun open() {
    return {run.folder.path(), config, server, {"http://h", "", "", ""}, files, log};
  }
  void push() {
    auto mlflow = open();
    mlflow.announce();
    mlflow.send_rows();
    mlflow.close();
  }
  const FakeMlflow::Run& there() const { return server.runs.begin()->second; }

  /// What metrics.jsonl holds, as the server should have it.
  std::multiset<FakeMlflow::Metric> expected() const {
    std::multiset<FakeMlflow::Metric> out;
    RowReader reader(run.metrics());
    const auto rows = reader.next();
    for (const auto& batch : metric_batches(rows, {}, kStart))
      for (const auto& metric : batch.metrics)
        out.emplace(metric.at("key"), metric.at("timestamp"), metric.at("step"),
                    json_text(metric.at("value")));
    return out;
  }

  ScratchRun run;
  RunConfig config;
  FileLayer files;
  Log log;
  FakeMlflow server;
};

TEST(Mlflow, ARunArrivesWithRowsParamsTagsStatusAndArtifacts) {
  Tracked tracked;
  tracked.train(0, 3);
  tracked.end_as("finished");
  tracked.push();
  ASSERT_THAT(tracked.server.runs, SizeIs(1));
  const auto& run = tracked.there();
  EXPECT_EQ(run.name, "run");
  EXPECT_EQ(run.status, "FINISHED");
  EXPECT_EQ(run.metrics, tracked.expected());
  EXPECT_THAT(run.metrics, Contains(FakeMlflow::Metric("val/loss", kStart + 250, 2, "2.0")));
  EXPECT_THAT(run.metrics, Contains(FakeMlflow::Metric("moe/load/1", kStart + 250, 2, "0.75")));
  EXPECT_THAT(run.params, Contains(Pair("model.moe.top_k", "2")));
  EXPECT_THAT(run.params, Contains(Pair("optim.betas", "[0.9,0.999]")));
  EXPECT_THAT(run.params, Contains(Pair("eval.mode", "full")));
  EXPECT_THAT(run.params, Not(Contains(Key("tracking.mlflow.uri"))));
  EXPECT_THAT(run.tags, Contains(Pair("makemoe.best_val_loss", "1.5")));
  EXPECT_THAT(run.tags, Contains(Pair("makemoe.version", "0.1.0")));
  EXPECT_THAT(run.artifacts, ElementsAre(Key("config.json")));
  EXPECT_THAT(tracked.server.experiments, ElementsAre("makemoe"));
}

TEST(Mlflow, ABestCheckpointThatIsGoneIsSaidAndTheRestIsSent) {
  Tracked tracked;
  test::store_checkpoint(tracked.run.folder.path(), {4, 2});
  tracked.config.tracking.mlflow.artifacts = MlflowArtifacts::best;
  testing::internal::CaptureStderr();
  tracked.push();
  EXPECT_THAT(testing::internal::GetCapturedStderr(), HasSubstr("best step, 2, has no checkpoint"));
  EXPECT_THAT(tracked.there().artifacts, ElementsAre(Key("config.json")));
}

TEST(Mlflow, TheReportAndTheBestCheckpointAreArtifactsWhereTheyAreThereAndWanted) {
  Tracked tracked;
  const auto folder = tracked.run.folder.path();
  test::store_checkpoint(folder, {2, 2});
  test::store_checkpoint(folder, {4, 2});
  write(folder / "report.html", "x");
  write(folder / "checkpoints/best", "step-00000004\n");  // a hint decides nothing
  tracked.config.tracking.mlflow.artifacts = MlflowArtifacts::best;
  tracked.push();
  EXPECT_THAT(tracked.there().artifacts,
              AllOf(SizeIs(8), Contains(Key("checkpoints/step-00000002/model.safetensors")),
                    Contains(Key("config.json")), Contains(Key("report.html"))));
  Tracked none;
  none.config.tracking.mlflow.artifacts = MlflowArtifacts::none;
  none.push();
  EXPECT_THAT(none.there().artifacts, IsEmpty());
}

struct Ending {
  const char* here;
  const char* there;
};
class MlflowStatus : public testing::TestWithParam<Ending> {};
TEST_P(MlflowStatus, SaysHowTheRunEnded) {
  Tracked tracked;
  tracked.end_as(GetParam().here);
  tracked.push();
  EXPECT_EQ(tracked.there().status, GetParam().there);
}
INSTANTIATE_TEST_SUITE_P(Mlflow, MlflowStatus,
                         testing::Values(Ending{"finished", "FINISHED"},
                                         Ending{"interrupted", "KILLED"},
                                         Ending{"stopped", "KILLED"}, Ending{"failed", "FAILED"},
                                         Ending{"running", "FAILED"}),
                         [](const auto& given) { return std::string(given.param.here); });

struct Weather {
  const char* name;
  Fault fault;
  const char* says;
};
class MlflowInBadWeather : public testing::TestWithParam<Weather> {};

TEST_P(MlflowInBadWeather, EveryRowArrivesOnceWhicheverRequestFails) {
  for (int request = 1;; ++request) {
    ASSERT_LT(request, 50) << "a push that never ends";
    Tracked tracked;
    tracked.train(0, 20);
    tracked.end_as("finished");
    tracked.server.fail(GetParam().fault, request);
    const auto message = message_of<ResourceError>([&] { tracked.push(); });
    if (message.empty()) break;  // it has fewer requests
    EXPECT_THAT(message, HasSubstr(GetParam().says));
    EXPECT_THAT(message, testing::StartsWith("http://h: "));
    tracked.push();  // by a process of its own
    ASSERT_THAT(tracked.server.runs, SizeIs(1)) << "request " << request;
    EXPECT_EQ(tracked.there().metrics, tracked.expected()) << "request " << request;
    EXPECT_EQ(tracked.there().status, "FINISHED");
    EXPECT_THAT(tracked.there().artifacts, SizeIs(1));
  }
}

TEST_P(MlflowInBadWeather, OneProcessGoesOnAfterAFailure) {
  Tracked tracked;
  auto mlflow = tracked.open();
  mlflow.announce();
  for (int i = 0; i < 5; ++i) {
    tracked.train(4 * i, 4 * i + 3);
    tracked.server.fail(GetParam().fault);
    EXPECT_THROW(mlflow.send_rows(), ResourceError);
    if (i % 2 == 0) {
      EXPECT_GT(mlflow.send_rows(), 0);
    }
  }
  mlflow.send_rows();
  EXPECT_EQ(mlflow.send_rows(), 0) << "all is there";
  EXPECT_EQ(tracked.there().metrics, tracked.expected());
}

INSTANTIATE_TEST_SUITE_P(
    Mlflow, MlflowInBadWeather,
    testing::Values(Weather{"refused", Fault::refused, "no connection; check the address"},
                    Weather{"answer_lost", Fault::answer_lost, "no answer, or not in time; "},
                    Weather{"error_500", Fault::error_500, "answered 500 (<html>oops</html>); "},
                    Weather{"login", Fault::login_refused, "the login was refused (401); set "}),
    [](const auto& given) { return std::string(given.param.name); });

TEST(Mlflow, ARunThatWasCutBackSendsNoStepTwiceAndNoneThatIsGone) {
  Tracked tracked;
  tracked.train(0, 10);
  tracked.push();
  tracked.train(11, 13);  // never sent, and gone with the crash
  tracked.run.folder.cut_back_to(6);
  tracked.train(7, 20);
  tracked.push();
  EXPECT_EQ(tracked.there().metrics, tracked.expected());
  ASSERT_THAT(tracked.server.runs, SizeIs(1));
}

// A kill between the server's taking a batch and the note of it: what a resumed run makes again has
// other times, and the server would take it for something new.
TEST(Mlflow, WhatWasInFlightWhenTheProcessDiedIsTheSameToTheServer) {
  for (const auto fault : {Fault::answer_lost, Fault::refused}) {
    Tracked tracked;
    tracked.train(0, 4);
    tracked.push();
    tracked.run.folder.write({5, 1, 0, {{"lr", 5}}});
    tracked.run.folder.write({6, 2, 0, {{"lr", 6}}});
    {
      auto mlflow = tracked.open();
      tracked.server.fail(fault);
      EXPECT_THROW(mlflow.send_rows(), ResourceError);
    }
    tracked.run.folder.cut_back_to(4);
    for (const auto step : {5, 6, 7}) tracked.run.folder.write({step, 9, 0, {{"lr", 1.0 * step}}});
    tracked.push();
    for (const auto step : {5, 6, 7}) {
      const auto& metrics = tracked.there().metrics;
      EXPECT_EQ(std::count_if(metrics.begin(), metrics.end(),
                              [&](const auto& metric) { return std::get<2>(metric) == step; }),
                1)
          << step;
    }
  }
}

// The evaluation that a signal cut short comes after the resume, at a step whose other row is sent.
TEST(Mlflow, ALaterRowOfAStepThatWasSentIsSent) {
  Tracked tracked;
  tracked.run.folder.write({4, 1, 0, {{"train/step_loss", 1}}});
  tracked.push();
  tracked.run.folder.cut_back_to(4);
  tracked.run.folder.write({4, 1, 0, {{"val/loss", 2}}});
  tracked.push();
  EXPECT_EQ(tracked.there().metrics, tracked.expected());
  EXPECT_THAT(tracked.there().metrics, SizeIs(2));
}

TEST(Mlflow, WithoutAStateFileTheRunIsFoundAgainAndTheServerDropsWhatItHas) {
  Tracked tracked;
  tracked.train(0, 10);
  for (int operation = 1; operation < 12; ++operation) {
    tracked.files = FileLayer(FaultPlan::parse(cat("ENOSPC@", operation, "+")));
    testing::internal::CaptureStderr();
    tracked.push();
    EXPECT_THAT(testing::internal::GetCapturedStderr(),
                testing::ContainsRegex("^[^\n]*No space left[^\n]*rows are sent all the same.\n$"));
    fs::remove(tracked.run.folder.path() / "mlflow.json");
  }
  ASSERT_THAT(tracked.server.runs, SizeIs(1));
  EXPECT_EQ(tracked.there().metrics, tracked.expected());
}

TEST(Mlflow, AStateFileThatDoesNotReadIsAsNone) {
  Tracked tracked;
  tracked.train(0, 4);
  tracked.push();
  for (const auto* text : {"", "[]", "{\"uri\": 5}", "{\"sent_step\": \"x\"", "\xFF"}) {
    write(tracked.run.folder.path() / "mlflow.json", text);
    EXPECT_NO_THROW(tracked.push()) << text;
  }
  EXPECT_THAT(tracked.server.runs, SizeIs(1));
  EXPECT_EQ(tracked.there().metrics, tracked.expected());
}

TEST(Mlflow, AnotherServerOrExperimentGetsTheWholeRun) {
  Tracked tracked;
  tracked.train(0, 4);
  tracked.push();
  const auto first = tracked.server.runs.size();
  tracked.server.runs.clear();
  tracked.config.tracking.mlflow.experiment = "other";
  tracked.push();
  EXPECT_EQ(tracked.server.runs.size(), first);
  EXPECT_EQ(tracked.there().metrics, tracked.expected());
}

TEST(Mlflow, ParamsAreThoseWithWhichTheRunBegan) {
  Tracked tracked;
  tracked.push();
  tracked.config.train.max_iters = 9999;  // a resume that extends the run; MLflow takes no change
  tracked.push();
  EXPECT_EQ(tracked.there().params.at("train.max_iters"), "5000");
}

// It was refused for ever: a changed param fails its whole batch.
TEST(Mlflow, ParamsThatWereNotConfirmedAreSentAsTheyWereAlsoWhenTheConfigChanged) {
  Tracked tracked;
  {
    auto mlflow = tracked.open();
    tracked.server.fail(Fault::answer_lost, 5);  // by name, create, search, create, params
    EXPECT_THROW(mlflow.announce(), ResourceError);
  }
  ASSERT_THAT(tracked.there().params, Contains(Key("seed")));
  tracked.config.train.max_iters = 9999;
  EXPECT_NO_THROW(tracked.push());
  EXPECT_EQ(tracked.there().params.at("train.max_iters"), "5000");
}

TEST(Mlflow, ARunThatWasDeletedOnTheServerIsNamedWithTheWayOut) {
  Tracked tracked;
  tracked.push();
  tracked.train(0, 1);
  tracked.server.runs.clear();
  EXPECT_THAT(message_of<ResourceError>([&] { tracked.push(); }),
              HasSubstr("; remove mlflow.json from the run folder to send the run anew"));
}

}  // namespace
}  // namespace moe::tracking
