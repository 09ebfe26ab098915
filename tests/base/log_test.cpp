#include "moe/base/log.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <pty.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cstdio>
#include <cstdlib>
#include <functional>
#include <string>
#include <string_view>

#include "moe/base/file.h"
#include "tests/base/scratch.h"

namespace moe {
namespace {

/// What `action` writes to standard error when that is a terminal.
std::string on_terminal(const std::function<void()>& action) {
  std::array<int, 2> ends{};
  winsize size{24, 20, 0, 0};
  if (openpty(&ends[0], &ends[1], nullptr, nullptr, &size) != 0) return "no pty";
  const int before = dup(STDERR_FILENO);
  dup2(ends[1], STDERR_FILENO);
  action();
  dup2(before, STDERR_FILENO);
  close(before);
  // A pty hands over in pieces: read until an end mark that the log never writes.
  constexpr std::string_view kEnd = "<end>";
  std::string written;
  if (write(ends[1], kEnd.data(), kEnd.size()) < 0) return "no end mark";
  std::array<char, 4096> buffer{};
  while (!written.ends_with(kEnd)) {
    const auto count = read(ends[0], buffer.data(), buffer.size());
    if (count <= 0) break;
    written.append(buffer.data(), static_cast<std::size_t>(count));
  }
  close(ends[0]);
  close(ends[1]);
  return written.substr(0, written.size() - std::min(written.size(), kEnd.size()));
}

TEST(Log, IsPlainTextWithPrefixesWhereThereIsNoTerminal) {
  testing::internal::CaptureStderr();
  {
    Log log;
    log.live("step 1");
    log.info("hello {}");
    log.warn("careful");
    log.error("wrong");
    EXPECT_FALSE(log.has_live_line());
  }
  EXPECT_EQ(testing::internal::GetCapturedStderr(), "hello {}\nwarning: careful\nerror: wrong\n");
}

TEST(Log, RedrawsTheLiveLineBelowMessagesAndColoursPrefixesOnATerminal) {
  unsetenv("NO_COLOR");
  const auto written = on_terminal([] {
    Log log;
    log.live("step 1");
    log.warn("careful");
    log.live("");
  });
  EXPECT_EQ(written, "step 1\r\033[K\033[33mwarning: \033[0mcareful\r\nstep 1\r\033[K");
}

TEST(Log, SeveralLiveLinesGoAndComeTogetherAndStayWithinTheScreen) {
  EXPECT_EQ(on_terminal([] {
              Log log;
              log.live("two\nlines");
              log.live("one");
              log.live("");
            }),
            "two\r\nlines\r\033[1A\033[Jone\r\033[K");
  const auto written = on_terminal([] {  // of 24 rows and 20 columns
    Log log;
    std::string many;
    for (int i = 0; i < 50; ++i) many += std::string(30, 'x') + "\n";
    log.live(many);
  });
  EXPECT_EQ(std::count(written.begin(), written.end(), 'x'), 23 * 19);
  EXPECT_TRUE(written.ends_with("\r\033[22A\033[J")) << written;
}

TEST(Log, ControlCharactersOfAHostileNameAreShownAndNotSent) {
  testing::internal::CaptureStderr();
  Log().error("a\033[2Jb\r\x7f\xc2\x9b\tc\n\u00e9");
  EXPECT_EQ(testing::internal::GetCapturedStderr(),
            "error: a\\x1b[2Jb\\x0d\\x7f\\x9b\tc\n\u00e9\n");
}

TEST(Log, NoColorIsHeededOnATerminal) {
  setenv("NO_COLOR", "1", 1);
  EXPECT_EQ(on_terminal([] { Log().error("wrong"); }), "error: wrong\r\n");
  unsetenv("NO_COLOR");
}

TEST(Log, ADumbTerminalGetsPlainLines) {
  const std::string before = std::getenv("TERM") == nullptr ? "" : std::getenv("TERM");
  setenv("TERM", "dumb", 1);
  EXPECT_EQ(on_terminal([] {
              Log log;
              log.live("step 1");
              log.error("wrong\033[2J");
              EXPECT_FALSE(log.has_live_line());
            }),
            "error: wrong\\x1b[2J\r\n");
  setenv("TERM", before.c_str(), 1);
}

TEST(Log, ALiveLineIsCutToOneRow) {
  EXPECT_EQ(on_terminal([] { Log().live(std::string(50, 'x')); }),
            std::string(19, 'x') + "\r\033[K");
}

TEST(Log, AlsoToAppendsTimeAndLevelToTheFile) {
  const test::Scratch scratch;
  testing::internal::CaptureStderr();
  for (int i = 0; i < 2; ++i) {
    Log log;
    log.info("before");
    log.also_to(scratch / "log.txt");
    log.info("one {}");
    log.warn("two");
  }
  testing::internal::GetCapturedStderr();
  const std::string time = "[0-9-]{10}T[0-9:]{8}[+-][0-9]{2}:[0-9]{2} ";
  EXPECT_THAT(read_file(scratch / "log.txt", ErrorKind::data),
              testing::MatchesRegex("(" + time + "info one \\{\\}\n" + time + "warning two\n){2}"));
}

TEST(Log, AFileThatCanNotBeWrittenIsDroppedWithAWarning) {
  testing::internal::CaptureStderr();
  {
    Log log;
    log.also_to("/proc/none/log.txt");
    log.info("goes on");
    log.also_to("/dev/full");
    log.info("still");
  }
  const auto text = testing::internal::GetCapturedStderr();
  EXPECT_TRUE(text.starts_with("warning: /proc/none/log.txt: cannot be written")) << text;
  EXPECT_TRUE(text.ends_with("goes on\nstill\n")) << text;
}

}  // namespace
}  // namespace moe
