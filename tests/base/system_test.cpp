#include "moe/base/system.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sched.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdlib>
#include <thread>

#include "moe/base/error.h"
#include "moe/base/version.h"

namespace moe {
namespace {

TEST(System, PhysicalCoresAreAtLeastOneAndAtMostTheThreads) {
  EXPECT_GE(physical_cores(), 1);
  EXPECT_LE(physical_cores(), static_cast<int>(std::thread::hardware_concurrency()));
}

TEST(System, PhysicalCoresHeedTheAffinityMask) {
  cpu_set_t before;
  ASSERT_EQ(sched_getaffinity(0, sizeof before, &before), 0);
  cpu_set_t one;
  CPU_ZERO(&one);
  for (int cpu = 0; cpu < CPU_SETSIZE && CPU_COUNT(&one) == 0; ++cpu)
    if (CPU_ISSET(cpu, &before)) CPU_SET(cpu, &one);
  ASSERT_EQ(sched_setaffinity(0, sizeof one, &one), 0);
  EXPECT_EQ(physical_cores(), 1);
  sched_setaffinity(0, sizeof before, &before);
}

TEST(System, DefaultThreadsAreThoseOfTheCoresAndNoMoreThanOpenMpIsAllowed) {
  const auto bounded = [](const char* value) {
    setenv("OMP_NUM_THREADS", value, 1);
    const auto threads = default_threads();
    unsetenv("OMP_NUM_THREADS");
    return threads;
  };
  for (const char* one : {"1", " 1 ", "1,4", "1 , 2"}) {
    EXPECT_EQ(bounded(one).count, 1) << one;
    EXPECT_EQ(bounded(one).notice, "") << one;
  }
  EXPECT_EQ(bounded("100000").count, physical_cores());
  EXPECT_EQ(bounded("").notice, "");
  for (const char* nonsense : {"0", "-2", "two", "1x", ",1", "1;2", "99999999999", " "}) {
    EXPECT_EQ(bounded(nonsense).count, physical_cores()) << nonsense;
    EXPECT_THAT(bounded(nonsense).notice, testing::HasSubstr(nonsense));
  }
}

TEST(System, ThreadsThatCanBeStartedAreCountedUpToALimit) {
  EXPECT_EQ(startable_threads(0), 0);
  EXPECT_EQ(startable_threads(3), 3);
#if defined(__SANITIZE_ADDRESS__)
  GTEST_SKIP() << "the address sanitizer maps terabytes, more than any limit";
#endif
  const auto child = fork();
  if (child == 0) {
    const rlimit limit{rlim_t{400} << 20U, rlim_t{400} << 20U};  // stacks of 8 MB do not fit in
    setrlimit(RLIMIT_AS, &limit);
    _exit(startable_threads(1000) < 1000 ? 0 : 1);
  }
  int status = 0;
  waitpid(child, &status, 0);
  EXPECT_EQ(status, 0);
}

TEST(System, AvailableMemoryHeedsTheAddressSpaceLimit) {
#if defined(__SANITIZE_ADDRESS__)
  GTEST_SKIP() << "the address sanitizer maps terabytes, more than any limit";
#endif
  EXPECT_GT(available_memory(), 0);
  const auto child = fork();
  if (child == 0) {
    constexpr rlim_t kLimit = rlim_t{512} << 20U;
    const rlimit limit{kLimit, kLimit};
    setrlimit(RLIMIT_AS, &limit);
    _exit(available_memory() < static_cast<std::int64_t>(kLimit) ? 0 : 1);
  }
  int status = 0;
  waitpid(child, &status, 0);
  EXPECT_EQ(status, 0);
}

TEST(System, MemoryThatIsNotThereIsRefusedWithWhatItIsForAndWhatToDo) {
  EXPECT_NO_THROW(require_memory(1, "x: it needs", "give less"));
  try {
    require_memory(1e17, "x: it needs", "give less");
    FAIL() << "accepted";
  } catch (const ResourceError& error) {
    EXPECT_THAT(error.what(), testing::StartsWith("x: it needs about 100000.0 TB of memory, "));
    EXPECT_THAT(error.what(), testing::EndsWith(" are available; give less"));
  }
}

TEST(System, ResidentMemoryIsAtMostThePeak) {
  EXPECT_GT(resident_memory(), 1 << 20);
  constexpr std::int64_t kBatches = 4 << 20;  // the kernel counts pages of each core in batches
  EXPECT_LE(resident_memory(), peak_memory() + kBatches);
}

TEST(System, PeakMemoryIsThatOfAProcess) { EXPECT_GT(peak_memory(), 1 << 20); }

TEST(System, ClocksAndNamesHaveTheirForms) {
  EXPECT_THAT(utc_now(),
              testing::MatchesRegex("20[0-9]{2}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}Z"));
  EXPECT_THAT(utc_stamp(), testing::MatchesRegex("20[0-9]{6}-[0-9]{6}"));
  EXPECT_FALSE(host_name().empty());
  const double before = monotonic_seconds();
  EXPECT_GE(monotonic_seconds(), before);
}

TEST(Version, NamesTheProgramTheCommitAndTheCompiler) {
  EXPECT_FALSE(version().empty());
  EXPECT_FALSE(commit().empty());
  EXPECT_FALSE(compiler().empty());
}

}  // namespace
}  // namespace moe
