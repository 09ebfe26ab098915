#include "kernels/cpu/pool.h"

#include <atomic>
#include <exception>
#include <limits>
#include <memory>
#include <mutex>
#include <stdexcept>
#include <system_error>
#include <thread>
#include <utility>
#include <vector>

#include "moe/base/error.h"
#include "moe/base/text.h"

namespace moe::kernels::cpu {

namespace {

using Task = std::function<void(std::int64_t, int)>;

/// Looks this many times before it sleeps: some tens of microseconds, about the gap between two
/// parallel parts of a layer. Longer, and a disturbed machine pays; shorter, and each part pays a
/// wake-up. Chosen, not yet measured.
constexpr int kSpins = 2000;

void relax() {
#ifdef __x86_64__
  __builtin_ia32_pause();
#endif
}

/// Waits until `value` is no longer `old`.
template <class T>
void wait_for_change(const std::atomic<T>& value, T old) {
  for (int i = 0; i < kSpins; ++i) {
    if (value.load(std::memory_order_acquire) != old) return;
    relax();
  }
  value.wait(old, std::memory_order_acquire);
}

/// Threads that live as long as the process and wait for the next job. A job ends when its tasks
/// are done, not when every thread has looked at it: one that sleeps, or whose core is taken, is
/// not waited for.
class Pool {
 public:
  explicit Pool(int helpers) {
    try {
      for (int i = 0; i < helpers; ++i) threads_.emplace_back([this, i] { serve(i + 1); });
    } catch (const std::system_error& error) {
      end();
      throw ResourceError(cat("threads: ", helpers + 1, " can not be started: ", error.what(),
                              "; lower threads, or raise the limit on processes (ulimit -u)"));
    }
  }
  ~Pool() { end(); }
  Pool(const Pool&) = delete;
  Pool& operator=(const Pool&) = delete;

  int helpers() const { return static_cast<int>(threads_.size()); }

  void run(std::uint32_t tasks, const Task& task) {
    task_ = &task;
    tasks_ = tasks;
    done_.store(0, std::memory_order_relaxed);
    publish(tasks);
    work(0);
    for (auto done = done_.load(std::memory_order_acquire); done != tasks;
         done = done_.load(std::memory_order_acquire))
      wait_for_change(done_, done);
    if (failure_) std::rethrow_exception(std::exchange(failure_, nullptr));
  }

 private:
  void end() {
    publish(kEnd);
    for (auto& thread : threads_) thread.join();
  }

  static constexpr std::uint64_t kLeft = 0xFFFFFFFFU;  // mask of the tasks that are not handed out
  static constexpr std::uint32_t kEnd = 0xFFFFFFFFU;   // instead of a count: the pool ends

  /// A new job: its number in the upper half keeps a late thread from taking a task of another job.
  void publish(std::uint32_t tasks) {
    const auto job = (ticket_.load(std::memory_order_relaxed) >> 32U) + 1;
    ticket_.store(job << 32U | tasks, std::memory_order_release);
    ticket_.notify_all();
  }

  void serve(int thread) {
    while (true) {
      work(thread);
      const auto ticket = ticket_.load(std::memory_order_acquire);
      if ((ticket & kLeft) == kEnd) return;
      if ((ticket & kLeft) == 0) wait_for_change(ticket_, ticket);
    }
  }

  void work(int thread) {
    auto ticket = ticket_.load(std::memory_order_acquire);
    while ((ticket & kLeft) != 0 && (ticket & kLeft) != kEnd) {
      if (!ticket_.compare_exchange_weak(ticket, ticket - 1, std::memory_order_acq_rel)) continue;
      // The job can not end before this task is done: its description stands.
      const auto tasks = tasks_;
      guarded(place(tasks - static_cast<std::uint32_t>(ticket & kLeft), tasks), thread);
      if (done_.fetch_add(1, std::memory_order_acq_rel) + 1 == tasks) done_.notify_one();
      ticket = ticket_.load(std::memory_order_acquire);
    }
  }

  /// Which task is handed out as number `i`. Neighbours share data (the weights of an expert), so
  /// that threads in step take neighbours each: with two threads 0, n/2, 1, n/2 + 1, ...
  std::int64_t place(std::uint32_t i, std::uint32_t tasks) const {
    const auto threads = static_cast<std::uint32_t>(helpers()) + 1;
    const auto stretch = tasks / threads, even = stretch * threads;
    return i < even ? i % threads * stretch + i / threads : i;
  }

  void guarded(std::int64_t task, int thread) {
    try {
      (*task_)(task, thread);
    } catch (...) {
      const std::lock_guard lock(failure_mutex_);
      if (!failure_) failure_ = std::current_exception();
    }
  }

  std::vector<std::thread> threads_;
  std::atomic<std::uint64_t> ticket_ = 0;  // number of the job, tasks left to hand out
  std::atomic<std::uint32_t> done_ = 0;    // tasks of the job that are done
  std::uint32_t tasks_ = 0;
  const Task* task_ = nullptr;
  std::exception_ptr failure_;
  std::mutex failure_mutex_;
};

thread_local bool is_in_task = false;

/// Says so while it lives, through an exception too.
struct InTask {
  InTask() { is_in_task = true; }
  ~InTask() { is_in_task = false; }
  InTask(const InTask&) = delete;
  InTask& operator=(const InTask&) = delete;
};

/// Threads are one resource of the process, as OpenMP's are: hence the one static object here.
struct Shared {
  std::mutex turn;  // of the caller whose tasks run
  std::unique_ptr<Pool> pool;
};
Shared& shared() {
  static Shared one;
  return one;
}

}  // namespace

void run_tasks(std::int64_t tasks, int threads, const Task& task) {
  if (threads <= 1 || tasks <= 1 || is_in_task) {
    for (std::int64_t t = 0; t < tasks; ++t) task(t, 0);
    return;
  }
  constexpr auto kMostTasks = std::numeric_limits<std::int32_t>::max();
  if (tasks > kMostTasks) throw std::length_error("more tasks than are counted");
  auto& [turn, pool] = shared();
  const std::lock_guard lock(turn);
  if (!pool || pool->helpers() != threads - 1) {
    pool.reset();  // the old threads end before the new ones begin
    pool = std::make_unique<Pool>(threads - 1);
  }
  pool->run(static_cast<std::uint32_t>(tasks), [&](std::int64_t t, int thread) {
    const InTask mark;
    task(t, thread);
  });
}

}  // namespace moe::kernels::cpu
