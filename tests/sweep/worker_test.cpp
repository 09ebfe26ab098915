#include "moe/sweep/worker.h"

#include <gmock/gmock.h>
#include <sys/stat.h>

#include <csignal>

#include "moe/sweep/summary.h"
#include "tests/sweep/sample.h"

namespace moe::sweep {
namespace {

using test::defined;
using test::Scratch;
using test::write;
using ::testing::AllOf;
using ::testing::HasSubstr;

/// Counts what it is told.
struct Heard : WorkerObserver {
  int started = 0, ended = 0, released = 0, ticks = 0;
  std::function<void(Heard&)> each_tick = [](Heard&) {};

  void on_start(const Claim&) override { ++started; }
  void on_end(const Claim&, const Outcome&) override { ++ended; }
  void on_release(const Claim&) override { ++released; }
  void on_tick() override {
    ++ticks;
    each_tick(*this);
  }
};

/// A sweep of six grid points whose trials are a shell script; the run folder is $4.
struct WorkerTest : ::testing::Test {
  Scratch scratch;
  FileLayer files;
  InterruptFlag interrupt;
  Heard heard;
  std::filesystem::path dir = scratch / "sweep";
  WorkerOptions options;

  std::string row(int step, const std::string& value) {
    return "echo '{\"step\": " + std::to_string(step) + ", \"val/loss\": " + value +
           "}' >> \"$4/metrics.jsonl\"\n";
  }

  Queue queue_of(const std::string& script, const std::string& more = "", Pace pace = {}) {
    options.program = (scratch / "trial").string();
    write(options.program, "#!/bin/sh\n" + script);
    ::chmod(options.program.c_str(), 0755);
    const auto of =
        defined(scratch, R"({"strategy": {"kind": "grid"}, "space": {"model.moe.num_experts":
      {"choices": [2, 4, 8]}, "model.moe.top_k": {"int": [2, 3]}})" +
                             more + "}");
    open_sweep(dir, of, true, files);
    return {dir, of, files, pace};
  }

  WorkerEnd run(Queue& queue) { return work(queue, files, options, interrupt, heard); }
};

TEST_F(WorkerTest, RunsEveryTrialAndTakesTheBestOfItsEvaluations) {
  auto queue = queue_of(row(0, "3") + row(10, "1.5") + row(20, "2"));
  options.slots = 3;
  const auto end = run(queue);
  EXPECT_EQ(end.signal, 0);
  const auto counts = counts_of(queue.definition(), queue.study());
  EXPECT_EQ(counts.complete, 5);
  EXPECT_EQ(counts.failed, 1);  // three of two experts: a bad combination
  EXPECT_EQ(heard.ended, 6);
  const auto& trial = queue.study().trials()[0];
  EXPECT_EQ(*trial.value, 1.5);
  EXPECT_EQ(trial.reported, (std::map<std::int64_t, double>{{0, 3}, {10, 1.5}, {20, 2}}));
  EXPECT_THAT(queue.study().trials()[1].user("reason").get<std::string>(),
              HasSubstr("num_experts"));
  EXPECT_TRUE(std::filesystem::exists(dir / "trials/00005/config.json"));
  EXPECT_FALSE(std::filesystem::exists(dir / "trials/00001"));
}

TEST_F(WorkerTest, TakesTheLastValueWhereAsked) {
  auto queue =
      queue_of(row(0, "3") + row(10, "1.5") + row(20, "2"), R"(, "objective": {"reduce": "last"})");
  options.count = 1;
  run(queue);
  EXPECT_EQ(heard.ended, 1);
  EXPECT_EQ(*queue.study().trials()[0].value, 2);
}

TEST_F(WorkerTest, RecordsWhyATrialFailedAndGoesOn) {
  auto queue = queue_of(
      "case $4 in *0) echo 'error: x: no memory; lower y' >&2; exit 6;; *2) kill -9 $$;; *3) exit "
      "1;; esac\n" +
      row(0, "1"));
  run(queue);
  const auto reason = [&](std::size_t i) {
    return queue.study().trials()[i].user("reason").get<std::string>();
  };
  EXPECT_EQ(reason(0), "x: no memory; lower y");
  EXPECT_EQ(queue.study().trials()[0].user("exit_code"), 6);
  EXPECT_THAT(reason(2), HasSubstr("signal 9"));
  EXPECT_THAT(reason(3), HasSubstr("exit code 1"));
  EXPECT_EQ(counts_of(queue.definition(), queue.study()).complete, 2);
}

TEST_F(WorkerTest, AMetricThatIsNotThereIsAFailureThatNamesThoseThatAre) {
  auto queue = queue_of("echo '{\"step\": 1, \"lr\": 3}' > \"$4/metrics.jsonl\"\n");
  options.fail_fast = true;
  const auto end = run(queue);
  ASSERT_TRUE(end.failure);
  EXPECT_THAT(end.failure->reason, AllOf(HasSubstr("val/loss"), HasSubstr("known are lr, step")));
  EXPECT_EQ(heard.started, 1);
}

TEST_F(WorkerTest, AProgramThatCanNotBeStartedEndsTheWorker) {
  auto queue = queue_of("");
  options.program = (scratch / "absent").string();
  EXPECT_THROW(run(queue), ResourceError);
}

TEST_F(WorkerTest, ASignalStopsTheChildAndGivesItsTrialBack) {
  auto queue = queue_of("trap 'exit 143' TERM\n" + row(0, "1") + "while :; do sleep 0.02; done\n");
  heard.each_tick = [&](Heard&) {
    if (!queue.study().trials().empty() && !queue.study().trials()[0].reported.empty() &&
        interrupt.signal() == 0)
      std::raise(SIGTERM);
  };
  EXPECT_EQ(run(queue).signal, SIGTERM);
  EXPECT_EQ(heard.released, 1);
  const auto& trial = queue.study().trials()[0];
  EXPECT_EQ(trial.state, TrialState::running);
  EXPECT_TRUE(trial.system("moe:claim")["worker"].is_null());
}

TEST_F(WorkerTest, ATrialThatAnotherTookOverIsLeftToIt) {
  auto queue = queue_of("trap 'exit 143' TERM\nwhile :; do sleep 0.02; done\n", "", {.beat_s = 0});
  options.count = 1;
  const auto worker = Json{{"host", "h"}, {"domain", "elsewhere"}, {"pid", 1}, {"started", 2}};
  heard.each_tick = [&](Heard& told) {
    if (told.ticks != 3) return;
    Journal(dir / "journal.log", "sweep-file", "other", files)
        .transact([&](const Study&, Operations& operations) {
          operations.set_system(0, kClaim, {{"worker", worker}, {"attempt", 2}, {"beat", 1}});
        });
  };
  run(queue);
  EXPECT_EQ(heard.released, 1);
  EXPECT_EQ(heard.ended, 0);
  const auto& trial = queue.study().trials().at(0);
  EXPECT_EQ(trial.state, TrialState::running);
  EXPECT_EQ(trial.system(kClaim)["worker"], worker);
}

TEST_F(WorkerTest, APrunedTrialIsStoppedAndKeepsItsLastValue) {
  // The first trial completes; later ones report worse and would run for ever.
  auto queue = queue_of("trap 'exit 143' TERM\ncase $4 in *0) " + row(10, "1") + "exit 0;; esac\n" +
                            row(10, "2") + "while :; do sleep 0.02; done\n",
                        R"(, "pruner": {"kind": "median", "startup_trials": 1})");
  run(queue);
  const auto counts = counts_of(queue.definition(), queue.study());
  EXPECT_EQ(counts.complete, 1);
  EXPECT_EQ(counts.pruned, 4);
  EXPECT_EQ(*queue.study().trials()[2].value, 2);
}

TEST_F(WorkerTest, TimeThatIsUpGivesBackWhatRuns) {
  auto queue = queue_of("trap 'exit 143' TERM\nwhile :; do sleep 0.02; done\n");
  options.seconds = 0.3;
  options.slots = 2;
  const auto end = run(queue);
  EXPECT_TRUE(end.out_of_time);
  EXPECT_EQ(heard.released, 2);
  EXPECT_EQ(heard.ended, 1);  // the bad combination, between the two
}

TEST_F(WorkerTest, WhatSomeoneElseStoppedIsTakenUpAgain) {
  auto queue = queue_of("test -e \"$4/once\" || { touch \"$4/once\"; exit 143; }\n" + row(0, "1"));
  run(queue);
  EXPECT_EQ(heard.released, 5);
  EXPECT_EQ(counts_of(queue.definition(), queue.study()).complete, 5);
}

}  // namespace
}  // namespace moe::sweep
