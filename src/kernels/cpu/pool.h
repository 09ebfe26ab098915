#pragma once

#include <cstdint>
#include <functional>

namespace moe::kernels::cpu {

/// Runs task(t, thread) for every t in [0, tasks), on up to `threads` threads of this process;
/// thread is in [0, threads), and at most one task at a time has a given one. Tasks are handed out
/// as threads come free, so their work must not depend on who does it. Returns when all are done.
/// An exception of a task, of several any one, is thrown here when no task runs any more; whether
/// the other tasks ran is open. Calls of several threads take turns; a call from within a task runs
/// there. After fork(2) the child has none of the threads: it may only exec or _exit.
///
/// The threads are our own, not OpenMP's: a waiting thread spins for tens of microseconds and
/// then sleeps, so that a core taken by another process costs no whole scheduler tick
/// (docs/adr/0011).
void run_tasks(std::int64_t tasks, int threads,
               const std::function<void(std::int64_t task, int thread)>& task);

}  // namespace moe::kernels::cpu
