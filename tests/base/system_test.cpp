#include "moe/base/system.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sched.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

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
  EXPECT_LE(resident_memory(), peak_memory());
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
