#pragma once

#include <cstdint>
#include <string>
#include <string_view>

namespace moe {

/// Cores that this process may use, hyper-threads of one core counted once; at least 1. Respects
/// the CPU affinity mask and the cgroup CPU quota.
int physical_cores();

/// Threads where the config leaves their number open.
struct DefaultThreads {
  int count = 1;       // physical_cores(), and no more than OMP_NUM_THREADS allows
  std::string notice;  // what is wrong with that variable, which then counts for nothing; or ""
};
DefaultThreads default_threads();

/// How many threads the system lets this process start besides those that it has: at most `count`,
/// less where a limit on processes or memory is in the way.
int startable_threads(int count);

/// Bytes that can still be allocated: the least of MemAvailable, the cgroup's limit minus its use,
/// and RLIMIT_AS minus what is mapped; nullopt-like -1 where nothing is known.
std::int64_t available_memory();

/// Throws ResourceError "WHAT need(s) about X of memory, Y are available; REMEDY" if `bytes` more
/// can not be allocated. Small amounts are not looked at: the question costs more than they do.
void require_memory(double bytes, std::string_view what, std::string_view remedy);

/// Resident set size of this process now, and the highest so far [bytes].
std::int64_t resident_memory();
std::int64_t peak_memory();

std::string host_name();

/// Wall clock as "2026-11-24T00:20:00Z".
std::string utc_now();

/// Wall clock as "20261124-002000", for folder names.
std::string utc_stamp();

/// Seconds on the monotonic clock, from an arbitrary origin.
double monotonic_seconds();

}  // namespace moe
