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
  const auto counts = counts_of(queue.definition(), queue.study(), dir);
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
      "case $4 in *0) echo 'error: memory: too little; lower y' >&2; exit 6;; *2) kill -SEGV $$;; "
      "*3) exit 1;; *4) exit 5;; esac\n" +
      row(0, "1"));
  const auto end = run(queue);
  EXPECT_FALSE(end.stop);
  const auto reason = [&](std::size_t i) {
    return queue.study().trials()[i].user("reason").get<std::string>();
  };
  EXPECT_EQ(reason(0), "memory: too little; lower y");
  EXPECT_EQ(queue.study().trials()[0].user("exit_code"), 6);
  EXPECT_THAT(reason(2), HasSubstr("signal 11"));
  EXPECT_THAT(reason(3), HasSubstr("exit code 1"));
  EXPECT_THAT(reason(4), HasSubstr("exit code 5"));
  EXPECT_EQ(counts_of(queue.definition(), queue.study(), dir).complete, 1);
}

TEST_F(WorkerTest, APrecisionThatTheMachineLacksIsTheTrialsAffair) {
  auto queue = queue_of(
      "case $4 in *0) echo 'error: train.precision: not here' >&2; exit 6;; esac\n" + row(0, "1"));
  EXPECT_FALSE(run(queue).stop);
  EXPECT_EQ(queue.study().trials()[0].user("reason"), "train.precision: not here");
  EXPECT_EQ(counts_of(queue.definition(), queue.study(), dir).complete, 4);
}

TEST_F(WorkerTest, TroubleThatNoTrialCanHelpEndsTheWorkerAndGivesTheTrialBack) {
  auto queue = queue_of("echo 'error: x: disk full; free some' >&2; exit 6\n");
  for (int i = 0; i < 5; ++i) {  // as often as one likes: nothing is used up
    const auto end = run(queue);
    ASSERT_TRUE(end.stop);
    EXPECT_EQ(end.stop->why, Stop::Why::outside);
    EXPECT_EQ(end.stop->outcome.exit_code, 6);
    EXPECT_EQ(end.stop->outcome.reason, "x: disk full; free some");
  }
  ASSERT_EQ(queue.study().trials().size(), 1u);
  EXPECT_EQ(queue.study().trials()[0].state, TrialState::running);
  EXPECT_EQ(queue.study().trials()[0].system(kClaim)["attempt"], 1);
}

TEST_F(WorkerTest, ATextThatIsGoneOrAnotherEndsTheWorkerAndGivesTheTrialBack) {
  const auto text = scratch / "text.txt", away = scratch / "away.txt";
  // The second trial's finds it gone, as it was for a moment before we look.
  auto queue = queue_of("case $4 in *2) test -e once || { touch once; exit 3; };; esac\n" +
                        row(0, "1") + "mv '" + text.string() + "' '" + away.string() + "'\n");
  const auto outside = [&] {
    const auto end = run(queue);
    ASSERT_TRUE(end.stop);
    EXPECT_EQ(end.stop->why, Stop::Why::outside);
    EXPECT_EQ(end.stop->outcome.exit_code, 3);
    EXPECT_THAT(end.stop->outcome.reason, HasSubstr(text.string()));
  };
  outside();
  write(text, "another text");
  outside();
  EXPECT_EQ(queue.study().trials().back().state, TrialState::running);
  EXPECT_EQ(counts_of(queue.definition(), queue.study(), dir).failed, 1);  // the bad combination
  std::filesystem::rename(away, text);
  write(options.program, "#!/bin/sh\n" + row(0, "1"));
  EXPECT_FALSE(run(queue).stop);
  EXPECT_EQ(counts_of(queue.definition(), queue.study(), dir).complete, 5);
}

TEST_F(WorkerTest, ADataErrorWithTheTextIntactIsTheTrialsOwnOnceItComesAgain) {
  auto queue = queue_of(
      "case $4 in *0) echo 'error: y: too short; more' >&2; exit 3;; *2) test -e \"$4/once\" || { "
      "touch \"$4/once\"; exit 3; };; esac\n" +
      row(0, "1"));
  EXPECT_FALSE(run(queue).stop);
  EXPECT_EQ(queue.study().trials()[0].user("reason"), "y: too short; more");
  EXPECT_EQ(counts_of(queue.definition(), queue.study(), dir).complete, 4);
}

TEST_F(WorkerTest, ARunOfAnotherTextIsNotCountedAndSetAside) {
  auto queue =
      queue_of("echo '{\"data\": {\"sha256\": \"another\"}}' > $4/run.json\n" + row(0, "1"));
  const auto end = run(queue);
  ASSERT_TRUE(end.stop);
  EXPECT_EQ(end.stop->outcome.exit_code, 3);
  EXPECT_EQ(queue.study().trials()[0].state, TrialState::running);
  EXPECT_FALSE(std::filesystem::exists(dir / "trials/00000"));
  EXPECT_TRUE(std::filesystem::exists(dir / "trials/00000.another-text/run.json"));
}

TEST_F(WorkerTest, AKilledTrialIsTriedAgainABoundedNumberOfTimes) {
  auto queue = queue_of(
      "case $4 in *0) kill -9 $$;; *2) test -e \"$4/once\" || { touch \"$4/once\"; kill -9 $$; };; "
      "esac\n" +
      row(0, "1"));
  EXPECT_FALSE(run(queue).stop);
  const auto& trials = queue.study().trials();
  EXPECT_EQ(trials[0].state, TrialState::failed);
  EXPECT_THAT(trials[0].user("reason").get<std::string>(),
              AllOf(HasSubstr("signal 9"), HasSubstr("budget.attempts")));
  EXPECT_EQ(trials[2].state, TrialState::complete);
  EXPECT_EQ(trials[2].system(kClaim)["attempt"], 2);
}

TEST_F(WorkerTest, FailuresOfOneKindInARowEndTheWorker) {
  auto queue = queue_of("echo \"error: bad $$\" >&2; exit 1\n",
                        R"(, "budget": {"max_consecutive_failures": 3})");
  const auto end = run(queue);
  ASSERT_TRUE(end.stop);
  EXPECT_EQ(end.stop->why, Stop::Why::consecutive);
  EXPECT_EQ(counts_of(queue.definition(), queue.study(), dir).failed,
            4);  // and the bad combination
}

TEST_F(WorkerTest, TrialsThatDivergeInARowEndNothing) {
  auto queue = queue_of("exit 5\n", R"(, "budget": {"max_consecutive_failures": 1})");
  EXPECT_FALSE(run(queue).stop);
  EXPECT_EQ(counts_of(queue.definition(), queue.study(), dir).failed, 6);
}

TEST_F(WorkerTest, AJournalThatCanNotBeWrittenEndsTheWorkerAndLetsTheTrialSave) {
  FileLayer broken(FaultPlan::parse("ENOSPC@2+"));  // the claim is written, and nothing after it
  auto queue = queue_of("trap 'touch $4/saved; exit 143' TERM\n" + row(0, "1") +
                        "while :; do sleep 0.02; done\n");
  Queue other(dir, queue.definition(), broken);
  const auto end = work(other, files, options, interrupt, heard);
  ASSERT_TRUE(end.stop);
  EXPECT_EQ(end.stop->outcome.exit_code, 6);
  EXPECT_TRUE(std::filesystem::exists(dir / "trials/00000/saved"));
}

TEST_F(WorkerTest, AMetricThatIsNotThereIsAFailureThatNamesThoseThatAre) {
  auto queue = queue_of("echo '{\"step\": 1, \"lr\": 3}' > \"$4/metrics.jsonl\"\n");
  options.fail_fast = true;
  const auto end = run(queue);
  ASSERT_TRUE(end.stop);
  EXPECT_EQ(end.stop->why, Stop::Why::fail_fast);
  EXPECT_THAT(end.stop->outcome.reason, AllOf(HasSubstr("val/loss"), HasSubstr("are lr, step")));
  EXPECT_EQ(heard.started, 1);
}

TEST_F(WorkerTest, AProgramThatCanNotBeStartedEndsTheWorker) {
  auto queue = queue_of("");
  options.program = (scratch / "absent").string();
  const auto end = run(queue);
  ASSERT_TRUE(end.stop);
  EXPECT_EQ(end.stop->why, Stop::Why::outside);
  EXPECT_TRUE(queue.study().trials()[0].system(kClaim)["worker"].is_null());
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
  const auto counts = counts_of(queue.definition(), queue.study(), dir);
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
  EXPECT_EQ(counts_of(queue.definition(), queue.study(), dir).complete, 5);
}

}  // namespace
}  // namespace moe::sweep
