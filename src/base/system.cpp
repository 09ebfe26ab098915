#include "moe/base/system.h"

#include <sched.h>
#include <sys/resource.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <chrono>
#include <cmath>
#include <cstdlib>
#include <ctime>
#include <exception>
#include <filesystem>
#include <fstream>
#include <future>
#include <limits>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <thread>
#include <vector>

#include "moe/base/error.h"
#include "moe/base/text.h"

namespace moe {

namespace {

namespace fs = std::filesystem;

constexpr auto kUnknown = std::numeric_limits<std::int64_t>::max();

/// The first word of the file as a T; `otherwise` where there is none.
template <class T>
T first_word(const fs::path& path, T otherwise) {
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

/// The value of a "name value" line of a cgroup's memory.stat; 0 where there is none.
std::int64_t stat_value(const fs::path& file, const std::string& name) {
  std::ifstream in(file);
  std::string key;
  std::int64_t value = 0;
  while (in >> key >> value)
    if (key == name) return value;
  return 0;
}

/// The folders of this process's cgroup and of its ancestors, for one controller: version 2 and
/// version 1. A container may show only the root of them.
std::vector<fs::path> cgroup_folders(const std::string& controller) {
  const fs::path root = "/sys/fs/cgroup";
  std::vector<fs::path> out;
  const auto add_chain = [&](const fs::path& mount, fs::path below) {
    for (; below.has_relative_path(); below = below.parent_path())
      out.push_back(mount / below.relative_path());
    out.push_back(mount);
  };
  std::ifstream file("/proc/self/cgroup");
  for (std::string line; std::getline(file, line);) {  // "4:cpu,cpuacct:/path", "0::/path"
    const auto first = line.find(':');
    const auto second = line.find(':', first + 1);
    if (first == std::string::npos || second == std::string::npos) continue;
    const auto names = cat(",", line.substr(first + 1, second - first - 1), ",");
    const auto below = line.substr(second + 1);
    if (names == ",,") add_chain(root, below);
    if (names.find(cat(",", controller, ",")) != std::string::npos)
      add_chain(root / controller, below);
  }
  return out;
}

/// The least that any cgroup above this process leaves. Page cache that can be dropped is free.
std::int64_t cgroup_memory() {
  constexpr std::int64_t kNoLimit = std::int64_t{1} << 60U;  // version 1 writes a huge number
  auto least = kUnknown;
  const auto see = [&](std::int64_t limit, std::int64_t used, std::int64_t cache) {
    if (limit < kNoLimit) least = std::min(least, limit - std::max<std::int64_t>(0, used - cache));
  };
  for (const auto& folder : cgroup_folders("memory")) {
    see(first_word(folder / "memory.max", kUnknown),
        first_word<std::int64_t>(folder / "memory.current", 0),
        stat_value(folder / "memory.stat", "inactive_file"));
    see(first_word(folder / "memory.limit_in_bytes", kUnknown),
        first_word<std::int64_t>(folder / "memory.usage_in_bytes", 0),
        stat_value(folder / "memory.stat", "total_inactive_file"));
  }
  return least;
}

std::int64_t address_space() {
  rlimit limit{};
  if (getrlimit(RLIMIT_AS, &limit) != 0 || limit.rlim_cur == RLIM_INFINITY) return kUnknown;
  const auto pages = first_word<std::int64_t>("/proc/self/statm", 0);
  return static_cast<std::int64_t>(limit.rlim_cur) - pages * sysconf(_SC_PAGESIZE);
}

/// The cgroups' CPU quota in whole cores, or a large number.
int quota_cores() {
  double least = std::numeric_limits<int>::max();
  const auto see = [&](double quota, double period) {
    if (quota > 0 && period > 0) least = std::min(least, std::floor(quota / period));
  };
  for (const auto& folder : cgroup_folders("cpu")) {
    std::ifstream file(folder / "cpu.max");  // "max 100000" or "150000 100000"
    double quota = 0, period = 0;
    if (file >> quota >> period) see(quota, period);
    see(first_word(folder / "cpu.cfs_quota_us", -1.0),
        first_word(folder / "cpu.cfs_period_us", -1.0));
  }
  return std::max(1, static_cast<int>(least));
}

/// The first number of a list such as "4,2", one for each level of nested parallel parts, as OpenMP
/// has it; nullopt for anything else.
std::optional<int> first_count(std::string_view list) {
  constexpr std::string_view kBlank = " \t";
  list.remove_prefix(std::min(list.find_first_not_of(kBlank), list.size()));
  int count = 0;
  const auto* last = list.data() + list.size();
  const auto [end, error] = std::from_chars(list.data(), last, count);
  const std::string_view rest(end, static_cast<std::size_t>(last - end));
  const auto next = rest.find_first_not_of(kBlank);
  const bool ends = next == std::string_view::npos || rest[next] == ',';
  return error == std::errc() && count > 0 && ends ? std::optional(count) : std::nullopt;
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
  // It fails beyond CPU_SETSIZE processors only; then the quota alone tells.
  if (sched_getaffinity(0, sizeof allowed, &allowed) != 0)
    return std::max(
        1, std::min(static_cast<int>(std::thread::hardware_concurrency()) / 2, quota_cores()));
  std::set<std::string> cores;  // each named by the list of its hyper-threads
  for (int cpu = 0; cpu < CPU_SETSIZE; ++cpu) {
    if (!CPU_ISSET(cpu, &allowed)) continue;
    const auto topology = cat("/sys/devices/system/cpu/cpu", cpu, "/topology/");
    const auto siblings = first_word(topology + "thread_siblings_list", std::to_string(cpu));
    cores.insert(first_word(topology + "core_cpus_list", siblings));
  }
  return std::max(1, std::min(static_cast<int>(cores.size()), quota_cores()));
}

DefaultThreads default_threads() {
  DefaultThreads threads{physical_cores(), ""};
  const auto* bound = std::getenv("OMP_NUM_THREADS");
  if (bound == nullptr || *bound == 0) return threads;
  if (const auto most = first_count(bound))
    threads.count = std::min(threads.count, *most);
  else
    threads.notice = cat("OMP_NUM_THREADS: \"", printable(bound),
                         "\" is not a number of threads and is ignored; give one from 1");
  return threads;
}

int startable_threads(int count) {
  std::promise<void> all_started;
  const auto go = all_started.get_future().share();
  std::vector<std::thread> threads;
  try {
    threads.reserve(static_cast<std::size_t>(count));
    while (static_cast<int>(threads.size()) < count) threads.emplace_back([go] { go.wait(); });
  } catch (const std::exception&) {  // no more of them, or no memory for one
  }
  all_started.set_value();
  for (auto& thread : threads) thread.join();
  return static_cast<int>(threads.size());
}

std::int64_t available_memory() {
  const auto least = std::min(
      {proc_kilobytes("/proc/meminfo", "MemAvailable:"), cgroup_memory(), address_space()});
  return least == kUnknown ? -1 : std::max<std::int64_t>(0, least);
}

void require_memory(double bytes, std::string_view what, std::string_view remedy) {
  constexpr double kSmall = 16e6;
  if (bytes < kSmall) return;
  const auto available = available_memory();
  if (available >= 0 && bytes > static_cast<double>(available))
    throw ResourceError(cat(what, " about ", human_bytes(bytes), " of memory, ",
                            human_bytes(static_cast<double>(available)), " are available; ",
                            remedy));
}

std::int64_t resident_memory() {
  const auto bytes = proc_kilobytes("/proc/self/status", "VmRSS:");
  return bytes == kUnknown ? 0 : bytes;
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
