#include "moe/base/interrupt.h"

#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <csignal>
#include <stdexcept>

namespace moe {
namespace {

TEST(InterruptFlag, KeepsTheFirstSignalAndIsCleanAtEachStart) {
  {
    const InterruptFlag flag;
    EXPECT_EQ(flag.signal(), 0);
    std::raise(SIGTERM);
    EXPECT_EQ(flag.signal(), SIGTERM);
  }
  const InterruptFlag flag;
  EXPECT_EQ(flag.signal(), 0);
}

TEST(InterruptFlag, ASecondSignalEndsTheProcessWith128PlusIt) {
  for (const int signal : {SIGINT, SIGTERM}) {
    const auto child = fork();
    if (child == 0) {
      const InterruptFlag flag;
      std::raise(SIGINT);
      std::raise(signal);
      _exit(0);
    }
    int status = 0;
    waitpid(child, &status, 0);
    EXPECT_TRUE(WIFEXITED(status));
    EXPECT_EQ(WEXITSTATUS(status), 128 + signal);
  }
}

TEST(InterruptFlag, AClosedPipeIsAFailedWrite) {
  const InterruptFlag flag;
  std::array<int, 2> ends{};
  ASSERT_EQ(pipe(ends.data()), 0);
  close(ends[0]);
  EXPECT_EQ(write(ends[1], "x", 1), -1);
  EXPECT_EQ(errno, EPIPE);
  close(ends[1]);
}

TEST(InterruptFlag, PutsBackWhatStoodBefore) {
  const auto before = std::signal(SIGINT, SIG_IGN);
  { const InterruptFlag flag; }
  EXPECT_EQ(std::signal(SIGINT, before), SIG_IGN);
}

TEST(InterruptFlag, TwoAtOnceAreABug) {
  const InterruptFlag flag;
  EXPECT_THROW(InterruptFlag(), std::logic_error);
}

}  // namespace
}  // namespace moe
