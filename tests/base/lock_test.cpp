#include "moe/base/lock.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/file.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <chrono>
#include <csignal>
#include <fstream>
#include <optional>
#include <thread>
#include <tuple>
#include <utility>
#include <vector>

#include "moe/base/file.h"
#include "moe/base/text.h"
#include "tests/base/on_disk.h"

namespace moe {
namespace {

using test::has;
using test::message_of;
using test::Scratch;
using test::status_of_child;
using namespace std::chrono_literals;

/// 0 when the lock could be taken, 1 when it is held by `holder`, 2 otherwise.
int try_lock(const fs::path& path, pid_t holder) {
  const auto message = message_of<ResourceError>([&] { FileLayer().lock(path); });
  if (message.empty()) return 0;
  return has(message, cat("in use by pid ", holder, " on ")) && has(message, " since 20") ? 1 : 2;
}

TEST(FileLock, ExcludesAnotherProcessNamesTheHolderAndEndsWithItsObject) {
  const Scratch scratch;
  const auto path = scratch / "lock";
  const auto child = [&, me = getpid()] {
    return WEXITSTATUS(status_of_child([&] { return try_lock(path, me); }));
  };
  {
    auto lock = FileLayer().lock(path);
    EXPECT_EQ(child(), 1);
    const FileLock moved(std::move(lock));
    EXPECT_EQ(child(), 1);
    EXPECT_EQ(try_lock(path, getpid()), 1) << "the same process is excluded too";
  }
  EXPECT_EQ(child(), 0);
}

TEST(FileLock, DiesWithAKilledProcess) {
  const Scratch scratch;
  const int status = status_of_child([&] {
    const auto lock = FileLayer().lock(scratch / "lock");
    return std::raise(SIGKILL);
  });
  EXPECT_TRUE(WIFSIGNALED(status));
  EXPECT_NO_THROW(FileLayer().lock(scratch / "lock"));
}

TEST(FileLock, OfTwoProcessesStartedAtOnceOneGetsItAndTheOtherNamesIt) {
  for (int round = 0; round < 20; ++round) {
    const Scratch scratch;
    std::array<int, 2> done{};
    ASSERT_EQ(pipe(done.data()), 0);  // its end closes when both have tried
    std::vector<pid_t> children;
    for (int i = 0; i < 2; ++i) {
      children.push_back(fork());
      if (children.back() != 0) continue;
      close(done[0]);
      int code = 0;
      try {
        const auto lock = FileLayer().lock(scratch / "lock");
        close(done[1]);
        usleep(300'000);  // longer than the other one looks for the note
      } catch (const ResourceError& error) {
        code = has(error.what(), "in use by pid ") ? 6 : 99;
      }
      _exit(code);
    }
    close(done[1]);
    close(done[0]);
    int sum = 0;
    for (const auto child : children) {
      int status = 0;
      waitpid(child, &status, 0);
      sum += WEXITSTATUS(status);
    }
    ASSERT_EQ(sum, 6) << round;
  }
}

TEST(FileLock, TellsWhetherItIsHeldAndIsLeftAsItIs) {
  const Scratch scratch;
  const auto path = scratch / "lock";
  EXPECT_FALSE(FileLock::is_held(path));
  EXPECT_FALSE(fs::exists(path));
  {
    const auto lock = FileLayer().lock(path);
    EXPECT_TRUE(FileLock::is_held(path));
    EXPECT_TRUE(FileLock::is_held(path));
  }
  EXPECT_FALSE(FileLock::is_held(path));
  EXPECT_NO_THROW(FileLayer().lock(path));
}

TEST(FileLock, OneWhoLooksIsNotTakenForAHolder) {
  const Scratch scratch;
  const auto path = scratch / "lock";
  // The note of a holder that was killed, and one who looks at this moment.
  std::ofstream(path) << "pid 1 on here since then";
  const int look = open(path.c_str(), O_RDONLY | O_CLOEXEC);
  ASSERT_EQ(flock(look, LOCK_SH | LOCK_NB), 0);
  std::thread looker([&] {
    usleep(2000);
    close(look);
  });
  EXPECT_NO_THROW(FileLayer().lock(path));
  looker.join();
}

TEST(FileLock, AFolderThatIsNotThereIsAnError) {
  EXPECT_THROW(FileLayer().lock(Scratch() / "none/lock"), ResourceError);
}

TEST(FileLock, AWaiterGetsItWhenTheHolderEnds) {
  const Scratch scratch;
  std::array<int, 2> held{};
  ASSERT_EQ(pipe(held.data()), 0);
  const auto child = fork();
  if (child == 0) {
    const auto lock = FileLayer().lock(scratch / "lock");
    std::ignore = write(held[1], "x", 1);
    usleep(100'000);
    _exit(0);
  }
  char byte = 0;
  ASSERT_EQ(read(held[0], &byte, 1), 1);
  EXPECT_NE(message_of<ResourceError>([&] { FileLayer().lock(scratch / "lock", 1ms); }), "");
  EXPECT_NO_THROW(FileLayer().lock(scratch / "lock", 60s));
  waitpid(child, nullptr, 0);
}

TEST(FileLock, AWaiterIsNotFooledByAHolderThatRemovesTheFile) {
  const Scratch scratch;
  const auto path = scratch / "lock";
  std::optional<FileLock> first = FileLayer().lock(path);
  std::thread waiter([&] {
    const auto lock = FileLayer().lock(path, 60s);
    EXPECT_TRUE(lock.is_current());
    EXPECT_NE(message_of<ResourceError>([&] { FileLayer().lock(path); }), "");
  });
  std::this_thread::sleep_for(30ms);
  fs::remove(path);
  first.reset();
  waiter.join();
}

TEST(FileLock, OneWhoseFileWasRemovedOrReplacedIsLost) {
  const Scratch scratch;
  const auto path = scratch / "lock";
  const auto lock = FileLayer().lock(path);
  EXPECT_NO_THROW(lock.require());
  fs::rename(path, scratch / "aside");
  EXPECT_TRUE(has(message_of<LockLost>([&] { lock.require(); }), "lock: was removed or replaced"));
  { const auto other = FileLayer().lock(path); }
  EXPECT_THROW(lock.require(), LockLost);
  // A network file system that numbers its files anew: what the file says decides.
  fs::remove(path);
  fs::copy_file(scratch / "aside", path);
  EXPECT_NO_THROW(lock.require());
}

TEST(FileLock, AFileSystemWithoutLocksIsWarnedOfOnce) {
  for (const auto* error : {"ENOLCK", "ENOSYS", "EOPNOTSUPP"}) {
    const Scratch scratch;
    std::vector<std::string> warnings;
    FileLayer files(FaultPlan::parse(cat(error, "@locking")),
                    [&](const std::string& text) { warnings.push_back(text); });
    {
      const auto lock = files.lock(scratch / "lock"), second = files.lock(scratch / "lock2");
      EXPECT_NO_THROW(lock.require());
    }
    ASSERT_EQ(warnings.size(), 1U) << error;
    EXPECT_TRUE(has(warnings[0], "the file system has no locks")) << warnings[0];
  }
  FileLayer broken(FaultPlan::parse("EIO@locking"));
  EXPECT_THROW(broken.lock(Scratch() / "lock"), ResourceError) << "that is no answer";
}

}  // namespace
}  // namespace moe
