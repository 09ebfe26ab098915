#include "moe/base/system.h"

#include <sched.h>
#include <sys/resource.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <cmath>
#include <ctime>
#include <fstream>
#include <limits>
#include <set>
#include <string>
#include <utility>

#include "moe/base/text.h"

namespace moe {

namespace {

constexpr auto kUnknown = std::numeric_limits<std::int64_t>::max();

template <class T>
T first_number(const std::string& path, T otherwise) {
  std::ifstream file(path);
  T value{};
  return file >> value ? value : otherwise;
}

/// Bytes of a "Name:   123 kB" line of a /proc file.
std::int64_t proc_kilobytes(const char* path, const std::string& name) {
  std::ifstream file(path);
  std::string key, unit;
  std::int64_t value = 0;
  while (file >> key) {
    if (key == name && file >> value) return value * 1024;
    std::getline(file, unit);
  }
  return kUnknown;
}

std::int64_t cgroup_memory() {
  const auto limit = first_number<std::int64_t>("/sys/fs/cgroup/memory.max", kUnknown);
  const auto used = first_number<std::int64_t>("/sys/fs/cgroup/memory.current", 0);
  return limit == kUnknown ? kUnknown : limit - used;
}

std::int64_t address_space() {
  rlimit limit{};
  if (getrlimit(RLIMIT_AS, &limit) != 0 || limit.rlim_cur == RLIM_INFINITY) return kUnknown;
  const auto pages = first_number<std::int64_t>("/proc/self/statm", 0);
  return static_cast<std::int64_t>(limit.rlim_cur) - pages * sysconf(_SC_PAGESIZE);
}

/// The cgroup's CPU quota in whole cores, or a large number.
int quota_cores() {
  std::ifstream file("/sys/fs/cgroup/cpu.max");
  double quota = 0, period = 0;
  if (!(file >> quota >> period) || period <= 0) return std::numeric_limits<int>::max();
  return std::max(1, static_cast<int>(std::floor(quota / period)));
}

std::string utc(const char* format) {
  const auto now = std::time(nullptr);
  std::tm parts{};
  gmtime_r(&now, &parts);
  std::array<char, 40> buffer{};
  std::strftime(buffer.data(), buffer.size(), format, &parts);
  return buffer.data();
}

}  // namespace

int physical_cores() {
  cpu_set_t allowed;
  CPU_ZERO(&allowed);
  if (sched_getaffinity(0, sizeof allowed, &allowed) != 0) return 1;
  std::set<std::pair<int, int>> cores;
  for (int cpu = 0; cpu < CPU_SETSIZE; ++cpu) {
    if (!CPU_ISSET(cpu, &allowed)) continue;
    const auto topology = cat("/sys/devices/system/cpu/cpu", cpu, "/topology/");
    cores.emplace(first_number(topology + "physical_package_id", 0),
                  first_number(topology + "core_id", cpu));
  }
  return std::max(1, std::min(static_cast<int>(cores.size()), quota_cores()));
}

std::int64_t available_memory() {
  const auto least = std::min(
      {proc_kilobytes("/proc/meminfo", "MemAvailable:"), cgroup_memory(), address_space()});
  return least == kUnknown ? -1 : std::max<std::int64_t>(0, least);
}

std::int64_t peak_memory() {
  rusage usage{};
  getrusage(RUSAGE_SELF, &usage);
  return std::int64_t{usage.ru_maxrss} * 1024;
}

std::string host_name() {
  std::array<char, 256> name{};
  return gethostname(name.data(), name.size() - 1) == 0 ? name.data() : "unknown";
}

std::string utc_now() { return utc("%Y-%m-%dT%H:%M:%SZ"); }
std::string utc_stamp() { return utc("%Y%m%d-%H%M%S"); }

double monotonic_seconds() {
  return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

}  // namespace moe
