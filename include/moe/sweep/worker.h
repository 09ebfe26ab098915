#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "moe/base/interrupt.h"
#include "moe/sweep/queue.h"

namespace moe::sweep {

struct WorkerOptions {
  std::int64_t slots = 1;             // trials at once
  std::optional<std::int64_t> count;  // trials to work on, then end
  std::optional<double> seconds;      // then give back what runs, and end
  bool stays = false;                 // until the last trial of every worker has ended
  bool fail_fast = false;             // the first failure ends it
  std::string program;                // makemoe; the tests name another
};

/// What ended a worker early (ADR 36).
struct Stop {
  enum class Why {
    fail_fast,    // the first trial that failed
    consecutive,  // budget.max_consecutive_failures trials that failed alike
    outside,      // trouble that no trial can help: what ran was given back
  } why;
  Outcome outcome;  // of the trial, or the trouble's reason and exit code
};

/// Why a worker ended.
struct WorkerEnd {
  int signal = 0;  // not 0: stopped by it
  bool out_of_time = false;
  std::int64_t taken = 0;  // trials that it began or continued
  std::optional<Stop> stop;
};

/// Told what happens, for people to see.
class WorkerObserver {
 public:
  virtual ~WorkerObserver() = default;
  virtual void on_start(const Claim& claim) = 0;
  virtual void on_end(const Claim& claim, const Outcome& outcome) = 0;
  /// Given back, or taken over by another worker.
  virtual void on_release(const Claim& claim) = 0;
  /// Several times a second.
  virtual void on_tick() = 0;
};

/// Takes trials from the queue and runs each as a child process until there is none left, the
/// options say so, a signal asks to stop, or trouble outside the trials: then children save, and
/// their trials are given back. SIGUSR1 is passed on to them.
WorkerEnd work(Queue& queue, FileLayer& files, const WorkerOptions& options,
               const InterruptFlag& interrupt, WorkerObserver& observer);

}  // namespace moe::sweep
