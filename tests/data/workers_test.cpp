#include "data/workers.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <stdexcept>
#include <thread>
#include <vector>

namespace moe {
namespace {

TEST(ShareWork, EachPieceIsDoneOnceByAWorkerInRange) {
  for (const int threads : {-1, 0, 1, 2, 5, 50}) {
    std::vector<std::atomic<int>> done(20);
    share_work(threads, done.size(), [&](std::size_t worker, std::size_t piece) {
      EXPECT_LT(worker, static_cast<std::size_t>(std::max(threads, 1)));
      ++done[piece];
    });
    for (const auto& times : done) EXPECT_EQ(times, 1) << threads;
  }
  share_work(4, 0, [](std::size_t, std::size_t) { FAIL() << "there is nothing to do"; });
}

TEST(ShareWork, TheCallingThreadIsWorkerZero) {
  const auto caller = std::this_thread::get_id();
  share_work(4, 200, [&](std::size_t worker, std::size_t) {
    EXPECT_EQ(worker == 0, std::this_thread::get_id() == caller);
  });
}

TEST(ShareWork, NoTwoThreadsAreOneWorkerAtATime) {
  std::vector<std::atomic<int>> at_work(4);
  share_work(4, 1000, [&](std::size_t worker, std::size_t) {
    EXPECT_EQ(++at_work[worker], 1);
    --at_work[worker];
  });
}

TEST(ShareWork, WhatACallThrowsIsThrownToTheCallerOnceAllHaveEnded) {
  for (const int threads : {1, 4}) {
    std::atomic<int> running{0};
    const auto work = [&](std::size_t, std::size_t piece) {
      ++running;
      if (piece == 3) {
        --running;
        throw std::runtime_error("piece 3");
      }
      --running;
    };
    EXPECT_THROW(share_work(threads, 100, work), std::runtime_error);
    EXPECT_EQ(running, 0);
  }
}

}  // namespace
}  // namespace moe
