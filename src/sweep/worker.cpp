#include "moe/sweep/worker.h"

#include <algorithm>
#include <chrono>
#include <list>
#include <thread>
#include <vector>

#include "moe/base/system.h"
#include "sweep/running_trial.h"

namespace moe::sweep {

namespace {

constexpr std::chrono::milliseconds kPause{25};
constexpr double kIdlePause = 1;  // [s] between looks into the journal when there is nothing to do

/// What must be in the journal, also where a signal comes while that is awaited.
template <class Write>
void insist(const Write& write) {
  try {
    write();
  } catch (const Interrupted&) {
    write();
  }
}

class Worker {
 public:
  Worker(Queue& queue, FileLayer& files, const WorkerOptions& options,
         const InterruptFlag& interrupt, WorkerObserver& observer)
      : queue_(queue),
        files_(files),
        options_(options),
        interrupt_(interrupt),
        observer_(observer) {}

  WorkerEnd run() {
    while (true) {
      notice_ends();
      pass_on_saves();
      if (!is_stopping()) fill();
      poll_all();
      observer_.on_tick();
      if (running_.empty() && (is_stopping() || is_done())) break;
      std::this_thread::sleep_for(kPause);
    }
    end_.signal = interrupt_.signal();
    return std::move(end_);
  }

 private:
  struct Slot {
    std::int64_t number;
    RunningTrial trial;
  };

  bool is_stopping() const {
    return interrupt_.signal() != 0 || end_.out_of_time || end_.failure.has_value();
  }

  void notice_ends() {
    if (options_.seconds && monotonic_seconds() - began_ > *options_.seconds)
      end_.out_of_time = true;
    if (!is_stopping()) return;
    for (auto& slot : running_) slot.trial.give_back();
  }

  void pass_on_saves() {
    const auto asked = interrupt_.saves_asked();
    if (asked == saves_passed_on_) return;
    saves_passed_on_ = asked;
    for (auto& slot : running_) slot.trial.save();
  }

  bool may_take() const {
    return static_cast<std::int64_t>(running_.size()) < options_.slots &&
           (!options_.count || taken_ < *options_.count) && monotonic_seconds() >= next_look_;
  }

  void fill() {
    while (may_take()) {
      const auto claim = try_claim();
      if (!claim) {
        next_look_ = monotonic_seconds() + kIdlePause;
        return;
      }
      ++taken_;
      start(*claim);
      if (is_stopping()) return;
    }
  }

  std::optional<Claim> try_claim() {
    try {
      return queue_.claim();
    } catch (const Interrupted&) {  // it came while the journal was awaited
      return std::nullopt;
    }
  }

  std::int64_t free_slot() const {
    std::int64_t number = 0;
    const auto is_taken = [&](const Slot& slot) { return slot.number == number; };
    while (std::any_of(running_.begin(), running_.end(), is_taken)) ++number;
    return number;
  }

  void start(const Claim& claim) {
    observer_.on_start(claim);
    const auto number = free_slot();
    try {
      running_.push_back({number, RunningTrial(queue_, files_, claim, options_, number)});
    } catch (const ConfigError& problem) {  // a bad combination of values: this trial's affair
      end(claim, {TrialState::failed, std::nullopt, problem.what(), problem.exit_code()});
    }
  }

  void poll_all() {
    for (auto slot = running_.begin(); slot != running_.end();) {
      const auto outcome = slot->trial.poll();
      if (!outcome) {
        ++slot;
        continue;
      }
      const auto claim = slot->trial.claim();
      if (slot->trial.is_released() || slot->trial.is_lost()) {
        insist([&] { queue_.release(claim); });  // writes nothing where it is another's by now
        observer_.on_release(claim);
      } else {
        end(claim, *outcome);
      }
      slot = running_.erase(slot);
      next_look_ = 0;
    }
  }

  void end(const Claim& claim, const Outcome& outcome) {
    insist([&] { queue_.finish(claim, outcome); });
    observer_.on_end(claim, outcome);
    if (options_.fail_fast && outcome.state == TrialState::failed && !end_.failure)
      end_.failure = outcome;
  }

  /// Nothing runs here. Whether there is nothing to wait for either.
  bool is_done() {
    if (options_.count && taken_ >= *options_.count) return true;
    if (next_look_ == 0) return false;  // not asked since the last end
    queue_.refresh();
    return options_.stays ? !queue_.is_unfinished() : !queue_.is_watching();
  }

  Queue& queue_;
  FileLayer& files_;
  const WorkerOptions& options_;
  const InterruptFlag& interrupt_;
  WorkerObserver& observer_;
  std::list<Slot> running_;
  std::int64_t taken_ = 0;
  double began_ = monotonic_seconds();
  int saves_passed_on_ = 0;  // of interrupt_.saves_asked()
  double next_look_ = 0;     // [s] monotonic; 0: at once
  WorkerEnd end_;
};

}  // namespace

WorkerEnd work(Queue& queue, FileLayer& files, const WorkerOptions& options,
               const InterruptFlag& interrupt, WorkerObserver& observer) {
  return Worker(queue, files, options, interrupt, observer).run();
}

}  // namespace moe::sweep
