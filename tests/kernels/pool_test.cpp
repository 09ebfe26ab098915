// The threads that the kernels share: each task once, whatever the number of threads, and whatever
// a task throws. Results are plain memory, so that the thread sanitizer, under which this file is
// also built (the preset tsan), sees whether the pool orders what is written and read.

#include "kernels/cpu/pool.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstdint>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

namespace moe::kernels::cpu {
namespace {

/// Only a fault waits so long: a thread that never comes.
constexpr std::chrono::seconds kNeverComes(60);

using Counts = std::vector<std::int64_t>;

/// How often each of the tasks ran, each with the number of a thread that was asked for.
Counts times_run(std::int64_t tasks, int threads) {
  Counts times(static_cast<std::size_t>(tasks));
  run_tasks(tasks, threads, [&](std::int64_t t, int thread) {
    if (thread < 0 || thread >= std::max(threads, 1)) throw std::out_of_range("thread");
    ++times[static_cast<std::size_t>(t)];
  });
  return times;
}
Counts once_each(std::int64_t tasks) { return Counts(static_cast<std::size_t>(tasks), 1); }

/// Comes here, of `all`; whether the others came too.
bool meets(std::atomic<int>& here, int all) {
  ++here;
  const auto end = std::chrono::steady_clock::now() + kNeverComes;
  while (here < all && std::chrono::steady_clock::now() < end) std::this_thread::yield();
  return here == all;
}
/// Whether as many tasks as threads ran side by side: each waits for all others.
bool tasks_meet(int threads) {
  std::atomic<int> here = 0, met = 0;
  run_tasks(threads, threads, [&](std::int64_t, int) {
    if (meets(here, threads)) ++met;
  });
  return met == threads;
}

TEST(Pool, EveryTaskRunsOnce) {
  for (const int threads : {0, 1, 2, 3, 8})
    for (const std::int64_t tasks : {0, 1, 2, 3, 7, 8, 9, 64, 1001})
      EXPECT_EQ(times_run(tasks, threads), once_each(tasks)) << tasks << " on " << threads;
}

TEST(Pool, EveryTaskRunsOnceWhenTheNumberOfThreadsChangesFromCallToCall) {
  for (int round = 0; round < 10; ++round)
    for (const int threads : {1, 2, 8, 3, 1, 2})
      EXPECT_EQ(times_run(100, threads), once_each(100)) << "on " << threads;
}

TEST(Pool, TasksRunSideBySide) {
  for (const int threads : {2, 8, 3}) EXPECT_TRUE(tasks_meet(threads)) << threads;
}

TEST(Pool, ATaskHasTheScratchOfItsThreadToItself) {
  for (const int threads : {1, 2, 3, 8}) {
    Counts scratch(static_cast<std::size_t>(threads));
    std::vector<std::atomic<bool>> busy(scratch.size());
    std::atomic<int> met = 0;
    run_tasks(2000, threads, [&](std::int64_t, int thread) {
      const auto own = static_cast<std::size_t>(thread);
      if (busy.at(own).exchange(true)) ++met;
      ++scratch.at(own);
      busy.at(own) = false;
    });
    EXPECT_EQ(met, 0) << "on " << threads;
    std::int64_t all = 0;
    for (const auto count : scratch) all += count;
    EXPECT_EQ(all, 2000) << "on " << threads;
  }
}

TEST(Pool, AThreadThatComesLateTakesNoTaskOfAnotherCall) {
  // Short calls, so that threads often wake when their call is over; its task is gone by then.
  for (int call = 0; call < 4000; ++call) {
    const auto tasks = 2 + call % 4;
    ASSERT_EQ(times_run(tasks, 4), once_each(tasks)) << "call " << call;
  }
}

TEST(Pool, TheCallerReadsWhatTasksWroteAndTheyReadWhatItWrote) {
  Counts from(256), to(256);
  for (std::int64_t call = 0; call < 200; ++call) {
    std::fill(from.begin(), from.end(), call);
    run_tasks(256, 3, [&](std::int64_t t, int) {
      to[static_cast<std::size_t>(t)] = from[static_cast<std::size_t>(t)] + t;
    });
    for (std::int64_t t = 0; t < 256; ++t) ASSERT_EQ(to[static_cast<std::size_t>(t)], call + t);
  }
}

/// The message of what a call throws if task `failing` throws; empty if it throws nothing.
std::string thrown_by(std::int64_t failing, std::int64_t tasks, int threads) {
  try {
    run_tasks(tasks, threads, [&](std::int64_t t, int) {
      if (t == failing) throw std::runtime_error("task " + std::to_string(t));
    });
  } catch (const std::runtime_error& error) {
    return error.what();
  }
  return {};
}

TEST(Pool, AnExceptionReachesTheCallerAndTheNextCallWorks) {
  for (const int threads : {1, 2, 8})
    for (const std::int64_t failing : {0, 1, 50, 99}) {
      SCOPED_TRACE("task " + std::to_string(failing) + " on " + std::to_string(threads));
      EXPECT_EQ(thrown_by(failing, 100, threads), "task " + std::to_string(failing));
      EXPECT_EQ(times_run(100, threads), once_each(100));
      EXPECT_TRUE(tasks_meet(threads));
    }
}

TEST(Pool, OfExceptionsAtOnceOneReachesTheCallerWhenNoTaskRunsAnyMore) {
  for (const int threads : {1, 2, 8}) {
    std::atomic<int> here = 0, running = 0;
    std::int64_t thrown = -1;
    try {
      run_tasks(100, threads, [&](std::int64_t t, int) {
        ++running;
        if (here < threads) meets(here, threads);
        --running;
        throw t;
      });
    } catch (std::int64_t task) {
      EXPECT_EQ(running, 0);
      thrown = task;
    }
    EXPECT_TRUE(thrown >= 0 && thrown < 100) << thrown << " on " << threads;
    EXPECT_EQ(times_run(100, threads), once_each(100)) << "nothing is left of them";
  }
}

TEST(Pool, ACallWithinATaskRunsOnItsThread) {
  constexpr std::int64_t kOuter = 8, kInner = 20;
  for (const int threads : {2, 3, 8}) {
    std::vector<Counts> times(kOuter, Counts(kInner));
    std::atomic<int> elsewhere = 0;
    run_tasks(kOuter, threads, [&](std::int64_t outer, int) {
      const auto here = std::this_thread::get_id();
      for (int call = 0; call < 2; ++call)  // the second is still within the task
        run_tasks(kInner, 4, [&](std::int64_t inner, int thread) {
          if (std::this_thread::get_id() != here || thread != 0) ++elsewhere;
          ++times[static_cast<std::size_t>(outer)][static_cast<std::size_t>(inner)];
        });
    });
    EXPECT_EQ(elsewhere, 0) << "on " << threads;
    for (const auto& inner : times) EXPECT_EQ(inner, Counts(kInner, 2)) << "on " << threads;
    EXPECT_TRUE(tasks_meet(threads)) << "the next call is not within a task";
  }
}

TEST(Pool, AnExceptionOfACallWithinATaskReachesTheOuterCaller) {
  EXPECT_THROW(run_tasks(8, 3,
                         [](std::int64_t outer, int) {
                           run_tasks(8, 3, [&](std::int64_t inner, int) {
                             if (outer == 5 && inner == 6) throw std::runtime_error("within");
                           });
                         }),
               std::runtime_error);
  EXPECT_EQ(times_run(100, 3), once_each(100));
}

TEST(Pool, CallsOfSeveralThreadsTakeTurns) {
  constexpr int kCallers = 3, kCalls = 300;
  std::atomic<int> wrong = 0, met = 0, whose = -1;
  const auto caller = [&](int self) {
    for (int call = 0; call < kCalls; ++call) {
      Counts times(5);
      // Each with a number of threads of its own, and two of them with the same.
      run_tasks(5, self == 0 ? 2 : 3, [&](std::int64_t t, int) {
        whose = self;
        ++times[static_cast<std::size_t>(t)];
        if (whose != self) ++met;
      });
      if (times != once_each(5)) ++wrong;
    }
  };
  std::vector<std::thread> callers;
  for (int self = 0; self < kCallers; ++self) callers.emplace_back(caller, self);
  for (auto& thread : callers) thread.join();
  EXPECT_EQ(wrong, 0);
  EXPECT_EQ(met, 0);
}

TEST(Pool, AnExceptionEndsTheTurnOfItsCaller) {
  EXPECT_EQ(thrown_by(3, 10, 2), "task 3");
  Counts times;
  std::thread([&] { times = times_run(100, 2); }).join();
  EXPECT_EQ(times, once_each(100));
}

}  // namespace
}  // namespace moe::kernels::cpu
