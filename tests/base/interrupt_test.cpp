#include "moe/base/interrupt.h"

#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <csignal>
#include <cstdlib>
#include <stdexcept>
#include <string>
#include <thread>

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

TEST(InterruptFlag, HeedsEachSignalThatAsksToStop) {
  for (const int signal : {SIGINT, SIGTERM, SIGHUP, SIGUSR2, SIGXCPU}) {
    const InterruptFlag flag;
    std::raise(signal);
    EXPECT_EQ(flag.signal(), signal);
    EXPECT_EQ(stop_signal(), signal);
  }
  EXPECT_EQ(stop_signal(), 0) << "without a flag";
}

TEST(Signals, HaveNamesForPeople) {
  EXPECT_EQ(signal_text(SIGINT), "Ctrl-C (SIGINT)");
  EXPECT_EQ(signal_text(SIGTERM), "SIGTERM");
  EXPECT_EQ(signal_text(999), "signal 999");
}

TEST(InterruptFlag, AHangUpAndACpuLimitMayComeAgain) {
  const InterruptFlag flag;
  for (const int signal : {SIGTERM, SIGHUP, SIGHUP, SIGXCPU, SIGXCPU}) std::raise(signal);
  EXPECT_EQ(flag.signal(), SIGTERM);
}

TEST(InterruptFlag, AWorkerOfASweepMayAskItsTrialAgain) {
  ::setenv(kWorkerVariable, std::to_string(::getpid()).c_str(), 1);
  {
    const InterruptFlag flag;
    for (const int signal : {SIGTERM, SIGTERM, SIGINT}) ::kill(::getpid(), signal);
    EXPECT_EQ(flag.signal(), SIGTERM);
  }
  ::unsetenv(kWorkerVariable);
}

TEST(InterruptFlag, CountsRequestsToSaveWithoutStopping) {
  const InterruptFlag flag;
  std::raise(SIGUSR1);
  std::raise(SIGUSR1);
  EXPECT_EQ(flag.saves_asked(), 2);
  EXPECT_EQ(flag.signal(), 0);
}

TEST(InterruptFlag, LeavesIgnoredWhatWasIgnored) {
  for (const int signal : {SIGINT, SIGHUP, SIGUSR1}) {
    const auto before = std::signal(signal, SIG_IGN);
    {
      const InterruptFlag flag;
      std::raise(signal);
      EXPECT_EQ(flag.signal(), 0);
      EXPECT_EQ(flag.saves_asked(), 0);
    }
    std::signal(signal, before);
  }
}

TEST(InterruptFlag, AWaitEndsWithASignalOfBeforeOrWithinIt) {
  std::array<int, 2> ends{};
  ASSERT_EQ(pipe(ends.data()), 0);
  {
    const InterruptFlag flag;
    // Another thread gets the signal: the wait must not count on being cut short itself.
    std::thread sender([] {
      usleep(20'000);
      std::raise(SIGTERM);
    });
    EXPECT_FALSE(wait_for_input(ends[0]));
    EXPECT_FALSE(wait_for_input(ends[0]));
    EXPECT_TRUE(wait_for_output(ends[1])) << "what is ready can still be written";
    sender.join();
  }
  const InterruptFlag flag;
  ASSERT_EQ(write(ends[1], "x", 1), 1);
  EXPECT_TRUE(wait_for_input(ends[0]));
  close(ends[0]);
  close(ends[1]);
}

TEST(WriteStream, WritesAllOfALongTextWhileItIsReadAndGivesUpAfterASignal) {
  std::array<int, 2> ends{};
  ASSERT_EQ(pipe(ends.data()), 0);
  const InterruptFlag flag;
  const std::string text(300'000, 'x');
  std::string got;
  std::thread reader([&] {
    std::array<char, 10'000> buffer{};
    while (got.size() < text.size())
      got.append(buffer.data(),
                 static_cast<std::size_t>(read(ends[0], buffer.data(), buffer.size())));
  });
  EXPECT_EQ(write_stream(ends[1], text.data(), text.size()), 0);
  reader.join();
  EXPECT_EQ(got.size(), text.size());
  std::raise(SIGTERM);
  EXPECT_EQ(write_stream(ends[1], text.data(), text.size()), ECANCELED);
  close(ends[0]);
  EXPECT_EQ(write_stream(ends[1], "x", 1), EPIPE);
  close(ends[1]);
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
