#include "moe/sweep/queue.h"

#include <gmock/gmock.h>
#include <sys/wait.h>
#include <unistd.h>

#include <functional>
#include <thread>

#include "moe/sweep/summary.h"
#include "tests/sweep/sample.h"

namespace moe::sweep {
namespace {

using test::defined;
using test::is_whole;
using test::kGrid;
using test::Scratch;
using ::testing::HasSubstr;

struct QueueTest : ::testing::Test {
  Scratch scratch;
  FileLayer files;
  std::filesystem::path dir = scratch / "sweep";

  Definition definition(const std::string& text = kGrid) {
    auto out = defined(scratch, text);
    open_sweep(dir, out, true, files);
    return out;
  }
  Queue open(const Definition& of, Pace pace = {}) { return {dir, of, files, pace}; }
  /// Claims in a process that dies with the claim.
  void claim_and_die(const Definition& of) {
    const auto child = ::fork();
    if (child == 0) {
      auto queue = open(of);
      ::_exit(queue.claim() ? 0 : 1);
    }
    int status = 0;
    ::waitpid(child, &status, 0);
    ASSERT_EQ(status, 0);
  }
  /// As Optuna's study.enqueue_trial writes it.
  void enqueue(const std::string& fixed) {
    files.append(dir / "journal.log",
                 R"({"op_code":4,"worker_id":"p","study_id":0,"datetime_start":null,"state":4,)"
                 R"("system_attrs":{"fixed_params":)" +
                     fixed + "}}\n");
  }
  Study now() { return read_sweep(dir).study; }
  /// As another machine's worker would have written it.
  void claim_from_elsewhere(std::int64_t trial, std::int64_t beat) {
    Journal journal(dir / "journal.log", "sweep-file", "other", files);
    auto worker = Identity::mine();
    worker.domain = "another machine";
    journal.transact([&](const Study&, Operations& operations) {
      operations.set_system(trial, "moe:claim",
                            {{"worker", worker.to_json()}, {"attempt", 1}, {"beat", beat}});
    });
  }
};

TEST_F(QueueTest, HandsOutEveryPointOnceToSeveralWorkers) {
  const auto of = definition();
  auto one = open(of), two = open(of);
  std::set<Point> points;
  std::set<std::int64_t> numbers;
  for (int i = 0; i < 3; ++i)
    for (auto* queue : {&one, &two}) {
      const auto claim = queue->claim();
      ASSERT_TRUE(claim);
      points.insert(claim->point);
      numbers.insert(claim->number);
      queue->finish(*claim, {TrialState::complete, 1.0, "", 0});
    }
  EXPECT_EQ(points.size(), 6u);
  EXPECT_EQ(numbers, (std::set<std::int64_t>{0, 1, 2, 3, 4, 5}));
  EXPECT_FALSE(one.claim());
  EXPECT_FALSE(one.is_unfinished());
}

TEST_F(QueueTest, ADeadWorkersTrialIsTakenOverABoundedNumberOfTimes) {
  const auto of = definition();
  for (int attempt = 1; attempt <= 3; ++attempt) claim_and_die(of);
  EXPECT_EQ(now().trials().size(), 1u);  // each time the same one
  auto queue = open(of);
  const auto next = queue.claim();
  ASSERT_TRUE(next);
  EXPECT_EQ(next->number, 1);
  const auto study = now();
  const auto& failed = study.trials()[0];
  EXPECT_EQ(failed.state, TrialState::failed);
  EXPECT_THAT(failed.user("reason").get<std::string>(), HasSubstr("died 3 times"));
}

TEST_F(QueueTest, ATrialGivenBackGoesOnFirstWithoutCountingAsAnAttempt) {
  const auto of = definition();
  auto one = open(of), two = open(of);
  for (int i = 0; i < 5; ++i) {
    const auto claim = one.claim();
    ASSERT_TRUE(claim);
    EXPECT_EQ(claim->number, 0);
    EXPECT_EQ(claim->attempt, 1);
    one.release(*claim);
  }
  EXPECT_EQ(two.claim()->number, 0);
}

TEST_F(QueueTest, AWorkerElsewhereLivesWhileItsBeatMoves) {
  const auto of = definition();
  auto queue = open(of, {.beat_s = 10, .dead_s = 0.2});
  const auto claim = queue.claim();
  claim_from_elsewhere(claim->trial, 1);
  EXPECT_EQ(queue.claim()->number, 1);
  EXPECT_TRUE(queue.is_watching());
  std::this_thread::sleep_for(std::chrono::milliseconds(300));
  claim_from_elsewhere(claim->trial, 2);
  EXPECT_EQ(queue.claim()->number, 2);
  EXPECT_FALSE(queue.is_watching());
  std::this_thread::sleep_for(std::chrono::milliseconds(300));
  const auto again = queue.claim();
  EXPECT_EQ(again->number, 0);
  EXPECT_EQ(again->attempt, 2);
}

TEST_F(QueueTest, ATrialCountsAsRunningWhileThereIsWhoRunsIt) {
  const auto of = definition();
  auto queue = open(of);
  const auto claim = *queue.claim();
  const auto present = [&] {
    const auto study = now();
    const auto counts = counts_of(of, study, dir);
    EXPECT_EQ(counts.running + counts.waiting, 1);
    return present_state(dir, study.trials()[0]);
  };
  EXPECT_EQ(present(), TrialState::running);
  claim_from_elsewhere(claim.trial, 1);
  EXPECT_EQ(present(), TrialState::running) << "its run has no lock yet: it may be starting";
  std::filesystem::create_directories(trial_folder(dir, 0));
  {
    const auto lock = FileLayer().lock(trial_folder(dir, 0) / ".lock");
    EXPECT_EQ(present(), TrialState::running);
  }
  EXPECT_EQ(present(), TrialState::waiting) << "nobody holds the run";
}

TEST_F(QueueTest, ATrialGivenBackOrOfADeadWorkerIsWaiting) {
  const auto of = definition();
  claim_and_die(of);
  EXPECT_EQ(counts_of(of, now(), dir).waiting, 1);
  auto queue = open(of);
  queue.release(*queue.claim());
  const auto counts = counts_of(of, now(), dir);
  EXPECT_EQ(counts.running, 0);
  EXPECT_EQ(counts.waiting, 1);
}

TEST_F(QueueTest, OneThatLostItsTrialLearnsItAndEndsNothing) {
  const auto of = definition();
  auto queue = open(of, {.beat_s = 0, .dead_s = 60});
  auto claim = *queue.claim();
  EXPECT_TRUE(queue.beat(claim));
  claim_from_elsewhere(claim.trial, 5);
  EXPECT_FALSE(queue.beat(claim));
  queue.finish(claim, {TrialState::complete, 1.0, "", 0});
  queue.release(claim);
  queue.report(claim, {{1, 1.0}});
  EXPECT_EQ(now().trials()[0].state, TrialState::running);
  EXPECT_EQ(now().trials()[0].system("moe:claim")["beat"], 5);
  EXPECT_TRUE(now().trials()[0].reported.empty());
}

TEST_F(QueueTest, SeedsOfAPointFollowOneAnotherAndCountTogether) {
  const auto of =
      definition(R"({"seeds": 2, "budget": {"trials": 8}, "strategy": {"kind": "random"},
    "space": {"optim.learning_rate": {"float": [1e-4, 1e-2]}}})");
  auto queue = open(of);
  const auto first = *queue.claim(), second = *queue.claim(), third = *queue.claim();
  EXPECT_EQ(first.point, second.point);
  EXPECT_EQ(second.seed_index, 1);
  EXPECT_NE(third.point, first.point);
  queue.finish(first, {TrialState::complete, 1.0, "", 0});
  queue.finish(second, {TrialState::complete, 4.0, "", 0});
  queue.finish(third, {TrialState::complete, 2.0, "", 0});
  const auto seen = observations(of, queue.study());
  ASSERT_EQ(seen.size(), 2u);
  EXPECT_EQ(*seen[0].value, 2.5);
  const auto board = leaderboard(of, queue.study());
  ASSERT_EQ(board.size(), 2u);
  EXPECT_EQ(board[0].value, 2.5);  // both seeds finished: before the 2.0 of a single one
  EXPECT_EQ(board[0].best->number, 0);
}

TEST_F(QueueTest, RunsWhatPythonEnqueuedAndLeavesItsOwnTrialsAlone) {
  const auto of = definition();
  auto queue = open(of);
  Journal python(dir / "journal.log", "sweep-file", "python", files);
  python.transact([](const Study&, Operations& operations) {
    operations.create_trial({}, Json::object(),
                            Json::object());  // study.ask() in Python: runs there
  });
  enqueue(R"({"model.moe.num_experts":8,"model.n_layer":2})");
  const auto claim = queue.claim();
  EXPECT_EQ(claim->number, 1);
  EXPECT_EQ(json_text(values_of(of.space, claim->point)),
            R"({"model.moe.num_experts":8,"model.n_layer":2})");
  EXPECT_EQ(now().trials()[1].state, TrialState::running);
  EXPECT_EQ(now().trials()[1].parameters.size(), 2u);
  for (int i = 0; i < 6; ++i) EXPECT_EQ(queue.claim()->number, i + 2);
  EXPECT_FALSE(queue.claim());
  EXPECT_EQ(counts_of(of, queue.study(), dir).total, 8);
}

constexpr const char* kConditional = R"({
  "space": {"optim.schedule.kind": {"choices": ["constant", "cosine"]},
            "optim.schedule.warmup_iters": {"int": [0, 100], "step": 50,
                                            "when": {"optim.schedule.kind": "cosine"}},
            "optim.betas": {"choices": [[0.9, 0.99], [0.9, 0.999]]}},
  "strategy": {"kind": "random"}, "budget": {"trials": 1}})";

TEST_F(QueueTest, WhatPythonEnqueuedWithoutAKeyHasThatDrawn) {
  const auto of = definition(kConditional);
  auto queue = open(of);
  for (int i = 0; i < 20; ++i) {
    enqueue(R"({"optim.schedule.kind":"cosine","optim.betas":"[0.9,0.999]"})");
    const auto claim = *queue.claim();
    EXPECT_EQ(claim.misfit, "");
    EXPECT_TRUE(is_whole(of.space, claim.point));
    EXPECT_EQ(claim.point.at("optim.schedule.kind"), 1);
    EXPECT_EQ(claim.point.at("optim.betas"), 1) << "Optuna knows a list by its text";
  }
}

TEST_F(QueueTest, WhatPythonEnqueuedOutsideTheSpaceIsNotReplaced) {
  const auto of = definition(kConditional);
  auto queue = open(of);
  const auto misfit_of = [&](const std::string& fixed) {
    enqueue(fixed);
    const auto claim = *queue.claim();
    EXPECT_TRUE(now().trials().back().parameters.empty());
    return claim.misfit;
  };
  EXPECT_EQ(
      misfit_of(R"({"optim.schedule.kind":"linear"})"),
      R"(optim.schedule.kind: "linear" is not in the space, which has "constant" or "cosine")");
  EXPECT_EQ(
      misfit_of(R"({"optim.schedule.kind":"cosine","optim.schedule.warmup_iters":60})"),
      "optim.schedule.warmup_iters: 60 is not in the space, which has 0 to 100 in steps of 50");
  EXPECT_THAT(misfit_of(R"({"optim.schedule.kind":"cosine","optim.schedule.warmup_iters":"50"})"),
              HasSubstr("optim.schedule.warmup_iters: \"50\" is not in the space"));
  EXPECT_EQ(misfit_of(R"({"schedule.kind":"cosine"})"),
            R"(schedule.kind: "cosine" cannot be used: the space has no such key)");
  EXPECT_EQ(misfit_of(R"({"optim.schedule.kind":"constant","optim.schedule.warmup_iters":50})"),
            R"(optim.schedule.warmup_iters: 50 cannot be used: the key's "when" does not hold)");
  EXPECT_EQ(misfit_of("3"), "fixed_params: 3 cannot be used: the space has no such key");
}

TEST_F(QueueTest, ATrialWhosePointTheSpaceLostIsNotRunAsAnotherPoint) {
  const auto before = definition();
  {
    auto queue = open(before);
    queue.finish(*queue.claim(), {TrialState::failed, std::nullopt, "x", 1});
    queue.release(*queue.claim());
  }
  const auto after = definition(R"({
    "space": {"model.moe.num_experts": {"choices": [4, 8]}, "model.n_layer": {"int": [1, 2]},
              "model.moe.top_k": {"int": [1, 2]}},
    "strategy": {"kind": "grid"}})");
  auto queue = open(after);
  const auto repeats = queue.retry_failed();
  EXPECT_EQ(repeats.count, 0);
  EXPECT_THAT(repeats.refused,
              ::testing::ElementsAre("trial 0: model.moe.num_experts: 2 is not in the space, which "
                                     "has 4 or 8; model.moe.top_k: the trial has no value for it"));
  EXPECT_THAT(queue.claim()->misfit, HasSubstr("model.moe.num_experts: 2"));  // given back: trial 1
}

TEST_F(QueueTest, AFailedTrialIsRepeatedOnceAsANewTrialOfItsPoint) {
  const auto of = definition(R"({"seeds": 2, "strategy": {"kind": "grid"},
    "space": {"model.moe.num_experts": {"choices": [2, 4]}}})");
  auto queue = open(of);
  queue.finish(*queue.claim(), {TrialState::complete, 1.0, "", 0});
  const auto failed = *queue.claim();
  queue.finish(failed, {TrialState::failed, std::nullopt, "x", 6});
  EXPECT_EQ(queue.retry_failed().count, 1);
  EXPECT_EQ(queue.retry_failed().count, 0);  // it is under way
  const auto again = *queue.claim();
  EXPECT_EQ(again.number, 2);
  EXPECT_EQ(again.point, failed.point);
  EXPECT_EQ(again.seed_index, 1);
  queue.finish(again, {TrialState::failed, std::nullopt, "y", 6});
  EXPECT_EQ(queue.retry_failed().count, 1);
  queue.finish(*queue.claim(), {TrialState::complete, 3.0, "", 0});
  const auto& last = queue.study().trials().back();
  EXPECT_EQ(last.system("failed_trial"), 1);  // as Optuna's RetryFailedTrialCallback has it
  EXPECT_EQ(json_text(last.system("retry_history")), "[1,2]");
  EXPECT_EQ(last.user("seed"), 1338);
  EXPECT_TRUE(last.user("reason").is_null());
  const auto counts = counts_of(of, queue.study(), dir);
  EXPECT_EQ(counts.total, 4);
  EXPECT_EQ(counts.failed, 0);
  EXPECT_EQ(leaderboard(of, queue.study())[0].value, 2.0);  // both seeds
  EXPECT_EQ(queue.claim()->number, 4);                      // the next point
}

TEST_F(QueueTest, AJournalThatWentWhileTrialsAreThereIsRefused) {
  const auto of = definition();
  auto queue = open(of);
  queue.claim();
  files.make_folder(dir / "trials/00000");
  files.append(dir / "journal.log", "{\"op_code\":1,\"worker_id\":\"p\",\"study_id\":0}\n");
  const auto refusal = HasSubstr("put the journal back");
  EXPECT_THAT(test::message_of<ResourceError>([&] { queue.claim(); }), refusal);
  EXPECT_THAT(test::message_of<ResourceError>([&] { open(of); }), refusal);
  files.remove(dir / "journal.log");
  EXPECT_THAT(test::message_of<ResourceError>([&] { open(of); }), refusal);
}

/// Claims, looks and ends a trial: whatever stands in the journal, an Error at most.
void use(const std::function<Queue()>& open, const std::filesystem::path& dir) {
  try {
    auto queue = open();
    if (auto claim = queue.claim()) {
      queue.report(*claim, {{1, 2.0}});
      queue.beat(*claim);
      queue.finish(*claim, {TrialState::complete, 1.0, "", 0});
    }
    const auto sweep = read_sweep(dir);
    json_text(sweep_json(sweep));
    sweep_csv(sweep);
  } catch (const Error&) {
  }
}

TEST_F(QueueTest, ADamagedJournalIsNeverMoreThanAnError) {
  const auto of = definition();
  {
    auto queue = open(of, {.beat_s = 0, .dead_s = 60});
    const auto first = *queue.claim();
    queue.report(first, {{1, 2.0}});
    queue.finish(first, {TrialState::complete, 1.0, "reason", 5});
    queue.release(*queue.claim());
  }
  const auto path = dir / "journal.log";
  const auto whole = test::read(path);
  for (std::size_t at = 0; at < whole.size(); at += 5)
    for (const char other : {'\0', '"', '9', '\n'}) {
      auto damaged = whole;
      damaged[at] = other;
      test::write(path, damaged);
      use([&] { return open(of); }, dir);
    }
}

TEST_F(QueueTest, AttributesOfAnyShapeAreNoMoreThanUnknown) {
  const auto of =
      definition(R"({"seeds": 3, "budget": {"trials": 9}, "strategy": {"startup_points": 1},
    "pruner": {"kind": "median"}, "space": {"model.moe.num_experts": {"choices": [2, 4, 8]},
    "optim.learning_rate": {"float": [1e-4, 1e-2], "log": true}}})");
  { open(of); }
  const auto path = dir / "journal.log";
  const auto head = test::read(path);
  for (const auto* value :
       {"null", "3", "-1", "9223372036854775807", "18446744073709551615", "1e300", "-1.7e308", "[]",
        "{}", "\"text\"", "{\"worker\":3}", "{\"worker\":null,\"attempt\":9223372036854775807}",
        "{\"worker\":{\"host\":\"\",\"domain\":\"\",\"pid\":-1,\"started\":-1},\"beat\":[]}",
        "\"{\\\"name\\\":3,\\\"attributes\\\":{\\\"choices\\\":7}}\"", "[[[]]]"})
    for (
        const auto* form :
        {R"({"op_code":4,"study_id":0,"system_attrs":{"moe:claim":X,"moe:proposal":1}})",
         R"({"op_code":4,"study_id":0,"state":1,"value":X,"system_attrs":{"moe:claim":{},"moe:proposal":X}})",
         R"({"op_code":4,"study_id":0,"state":4,"system_attrs":{"fixed_params":X}})",
         R"({"op_code":4,"study_id":0,"state":4,"system_attrs":{"fixed_params":{"optim.learning_rate":X}}})",
         R"({"op_code":4,"study_id":0,"state":X,"params":X,"distributions":X,"user_attrs":{"seed":X,"reason":X}})",
         R"({"op_code":4,"study_id":0,"params":{"model.moe.num_experts":0},"distributions":{"model.moe.num_experts":X}})",
         R"({"op_code":7,"trial_id":0,"step":X,"intermediate_value":X})",
         R"({"op_code":X,"study_id":X,"trial_id":X,"study_name":X})"}) {
      auto line = std::string(form);
      for (std::size_t at = 0; (at = line.find("X", at)) != std::string::npos;)
        line.replace(at, 1, value);
      // A trial before it, for operations on one, and both twice.
      const std::string trial =
          R"({"op_code":4,"study_id":0,"params":{"model.moe.num_experts":0},"distributions":{"model.moe.num_experts":"[]"},"system_attrs":{"moe:claim":{"worker":null},"moe:proposal":0}})";
      test::write(path, head + trial + "\n" + line + "\n" + line + "\n");
      for (int i = 0; i < 2; ++i) use([&] { return open(of); }, dir);
    }
}

TEST_F(QueueTest, ExportsOneRowATrialWithAwkwardTextsQuoted) {
  const auto of = definition();
  auto queue = open(of);
  queue.finish(*queue.claim(), {TrialState::complete, 0.1, "", 0});
  queue.finish(*queue.claim(), {TrialState::failed, std::nullopt, "a \"b\", c\nd", 5});
  const auto csv = sweep_csv(read_sweep(dir));
  EXPECT_THAT(csv, HasSubstr("0,complete,0.1,1337,1,"));
  EXPECT_THAT(csv, HasSubstr("\"a \"\"b\"\", c\nd\",,2,2\r\n"));
  const auto json = sweep_json(read_sweep(dir));
  EXPECT_EQ(json["best"]["number"], 0);
  EXPECT_EQ(json["failed"], 1);
}

}  // namespace
}  // namespace moe::sweep
