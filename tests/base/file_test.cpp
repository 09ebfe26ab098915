#include "moe/base/file.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/file.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <csignal>
#include <fstream>
#include <functional>
#include <thread>
#include <utility>
#include <vector>

#include "moe/base/interrupt.h"
#include "moe/base/text.h"
#include "tests/base/on_disk.h"

namespace moe {
namespace {

using test::bytes_in;
using test::has;
using test::listing;
using test::message_of;
using test::Scratch;
using test::status_of_child;

/// Every kind of change once, on files that are there already where the change needs one.
void change_everything(FileLayer& files, const fs::path& folder) {
  const std::array<std::string_view, 2> pieces{"first ", "second"};
  files.make_folder(folder / "sub");
  files.write_file(folder / "sub" / "a", pieces);
  files.append(folder / "sub" / "log", "line\n");
  files.truncate(folder / "sub" / "log", 2);
  files.rename(folder / "sub" / "a", folder / "sub" / "b");
  files.sync_folder(folder / "sub");
  files.replace(folder / "whole", "new");
  files.remove(folder / "sub");
}
constexpr int kChanges = 12;  // write_file counts two, replace four

TEST(ReadFile, GivesTheBytesAndNamesWhatIsWrong) {
  const Scratch scratch;
  FileLayer().replace(scratch / "a", std::string_view("x\0y\n", 4));
  EXPECT_EQ(bytes_in(scratch / "a"), std::string("x\0y\n", 4));
  EXPECT_GT(bytes_in("/proc/self/status").size(), 0U) << "says that its size is 0";
  const auto refusal = [](const fs::path& path, std::uint64_t most) {
    return message_of<Error>([&] { read_file(path, ErrorKind::data, most); });
  };
  EXPECT_TRUE(has(refusal(scratch / "none", 9), "none: cannot be read: No such file"));
  EXPECT_TRUE(has(refusal(scratch.path(), 9), "is a folder"));
  EXPECT_TRUE(has(refusal(scratch / "a", 3), "larger than 3 B"));
  EXPECT_EQ(refusal(scratch / "a", 4), "");
  EXPECT_TRUE(has(refusal("/dev/zero", 1000), "larger than 1.0 kB"));
}

TEST(FaultPlan, ReadsEachForm) {
  EXPECT_EQ(FaultPlan::parse("crash@7").action, FaultPlan::Action::crash);
  EXPECT_EQ(FaultPlan::parse("crash@7").operation, 7);
  EXPECT_EQ(FaultPlan::parse("ENOSPC@3").error_number, ENOSPC);
  EXPECT_FALSE(FaultPlan::parse("ENOSPC@3").sticky);
  EXPECT_EQ(FaultPlan::parse("EIO@3+").error_number, EIO);
  EXPECT_TRUE(FaultPlan::parse("EIO@3+").sticky);
  EXPECT_EQ(FaultPlan::parse("short@1").action, FaultPlan::Action::short_write);
  EXPECT_EQ(FaultPlan::parse("ENOLCK@locking").error_number, ENOLCK);
  EXPECT_TRUE(FaultPlan::parse("ENOLCK@locking").is_due(5, "locking"));
  EXPECT_FALSE(FaultPlan::parse("ENOLCK@locking").is_due(5, "fsync"));
}

TEST(FaultPlan, RefusesEveryOtherText) {
  for (const auto* text :
       {"", "crash", "crash@", "crash@0", "crash@-1", "crash@x", "crash@3x", "crash@3++", "boom@3",
        "@3", "EIO@99999999999999999999", "crash@fsync", "EIO@cooking", "EIO@fsync+"})
    EXPECT_THROW(FaultPlan::parse(text), ConfigError) << text;
}

TEST(FileLayer, MakesEachChangeAndCountsIt) {
  const Scratch scratch;
  FileLayer files;
  const std::array<std::string_view, 3> pieces{"a", "", "bc"};
  files.make_folder(scratch / "x/y");
  files.make_folder(scratch / "x/y");
  EXPECT_EQ(files.operations(), 2);
  files.write_file(scratch / "x/f", pieces);
  EXPECT_EQ(files.operations(), 4);
  files.append(scratch / "x/f", "def");
  files.truncate(scratch / "x/f", 5);
  EXPECT_EQ(bytes_in(scratch / "x/f"), "abcde");
  files.rename(scratch / "x/f", scratch / "x/g");
  EXPECT_EQ(bytes_in(scratch / "x/g"), "abcde");
  files.remove(scratch / "x");
  files.remove(scratch / "x");
  EXPECT_FALSE(fs::exists(scratch / "x"));
  EXPECT_EQ(files.operations(), 9);
}

TEST(FileLayer, AFaultAtEachOperationIsAnErrorThatNamesThePath) {
  FileLayer counted;
  change_everything(counted, Scratch().path());
  ASSERT_EQ(counted.operations(), kChanges);
  for (int operation = 1; operation <= kChanges; ++operation) {
    for (const auto* fault : {"ENOSPC@", "EIO@", "short@"}) {
      const Scratch scratch;
      FileLayer files(FaultPlan::parse(cat(fault, operation)));
      const auto message =
          message_of<ResourceError>([&] { change_everything(files, scratch.path()); });
      EXPECT_TRUE(has(message, scratch.path().string())) << fault << operation << ": " << message;
      EXPECT_TRUE(has(message, "; ")) << message;
      EXPECT_EQ(files.operations(), operation);
    }
  }
}

TEST(FileLayer, ACrashAtEachOperationIsAKillAndOneBeyondTheLastSurvives) {
  for (int operation = 1; operation <= kChanges + 1; ++operation) {
    const Scratch scratch;
    const int status = status_of_child([&] {
      FileLayer files(FaultPlan::parse(cat("crash@", operation)));
      change_everything(files, scratch.path());
      return 0;
    });
    if (operation <= kChanges) {
      EXPECT_TRUE(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL) << operation;
    } else {
      EXPECT_TRUE(WIFEXITED(status) && WEXITSTATUS(status) == 0);
    }
  }
}

TEST(FileLayer, AStickyFaultFailsEachLaterOperationTooAndAPlainOneOnlyOnce) {
  const Scratch scratch;
  FileLayer sticky(FaultPlan::parse("ENOSPC@2+"));
  FileLayer once(FaultPlan::parse("ENOSPC@2"));
  for (auto* files : {&sticky, &once}) {
    files->append(scratch / "f", "1");
    EXPECT_THROW(files->append(scratch / "f", "2"), ResourceError);
  }
  EXPECT_THROW(sticky.append(scratch / "f", "3"), ResourceError);
  EXPECT_NO_THROW(once.append(scratch / "f", "3"));
}

TEST(FileLayer, AShortWriteLeavesHalfOfTheBytesOfAllPieces) {
  const Scratch scratch;
  const std::array<std::string_view, 3> pieces{"abc", "defg", "hij"};
  FileLayer files(FaultPlan::parse("short@1"));
  const auto message = message_of<ResourceError>([&] { files.write_file(scratch / "f", pieces); });
  EXPECT_TRUE(has(message, "No space left on device; free some space")) << message;
  EXPECT_EQ(bytes_in(scratch / "f"), "abcde");
}

TEST(FileLayer, AnAppendThatFailsHalfwayLeavesTheFileAsItWas) {
  const Scratch scratch;
  FileLayer files(FaultPlan::parse("short@2"));
  files.append(scratch / "f", "one\n");
  EXPECT_THROW(files.append(scratch / "f", "two\n"), ResourceError);
  files.append(scratch / "f", "three\n");
  EXPECT_EQ(bytes_in(scratch / "f"), "one\nthree\n");
}

TEST(FileLayer, ReplaceShowsTheOldFileOrTheNewOneWhateverFails) {
  for (const auto* fault : {"ENOSPC@", "short@", "crash@"}) {
    for (int operation = 1; operation <= 4; ++operation) {
      const Scratch scratch;
      FileLayer().replace(scratch / "f", "old");
      const int status = status_of_child([&] {
        FileLayer files(FaultPlan::parse(cat(fault, operation)));
        files.replace(scratch / "f", "newer");
        return 0;
      });
      EXPECT_NE(status, 0) << fault << operation;
      EXPECT_EQ(bytes_in(scratch / "f"), operation <= 3 ? "old" : "newer") << fault << operation;
      if (fault != std::string_view("crash@")) {
        EXPECT_EQ(listing(scratch.path()), std::vector<std::string>{"f"}) << fault << operation;
      }
    }
  }
}

TEST(FileLayer, ASizeLimitOfTheSystemIsAnErrorAndTheOldFileStands) {
  const Scratch scratch;
  FileLayer().replace(scratch / "f", "old");
  const int status = status_of_child([&] {
    std::signal(SIGXFSZ, SIG_IGN);
    const rlimit limit{1000, 1000};
    setrlimit(RLIMIT_FSIZE, &limit);
    FileLayer files;
    const auto message =
        message_of<ResourceError>([&] { files.replace(scratch / "f", std::string(5000, 'x')); });
    return has(message, "File too large") ? 0 : 1;
  });
  EXPECT_EQ(status, 0);
  EXPECT_EQ(bytes_in(scratch / "f"), "old");
  EXPECT_EQ(listing(scratch.path()), std::vector<std::string>{"f"});
}

TEST(FileLayer, AFileWhereAFolderShouldBeIsAnError) {
  const Scratch scratch;
  FileLayer files;
  files.append(scratch / "f", "x");
  EXPECT_THROW(files.make_folder(scratch / "f"), ResourceError);
  EXPECT_THROW(files.make_folder(scratch / "f/g"), ResourceError);
  EXPECT_THROW(files.append(scratch / "f/g", "x"), ResourceError);
  EXPECT_THROW(files.rename(scratch / "none", scratch / "g"), ResourceError);
}

TEST(ReadFile, AFifoIsReadToItsEndAndItsWaitEndsWithASignal) {
  const Scratch scratch;
  const auto path = scratch / "fifo";
  ASSERT_EQ(mkfifo(path.c_str(), 0600), 0);
  std::thread writer([&] {
    std::ofstream file(path);
    for (const auto* part : {"one ", "two ", "three"}) {
      file << part << std::flush;
      usleep(5000);
    }
  });
  EXPECT_EQ(read_file(path, ErrorKind::data), "one two three");
  writer.join();
  const InterruptFlag flag;
  std::thread sender([] {
    usleep(20'000);
    std::raise(SIGHUP);
  });
  EXPECT_THROW(read_file(path, ErrorKind::data), Interrupted);
  sender.join();
}

}  // namespace
}  // namespace moe
