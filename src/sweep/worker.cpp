#include "moe/sweep/worker.h"

#include <algorithm>
#include <chrono>
#include <list>
#include <thread>
#include <vector>

#include "moe/base/system.h"
#include "moe/base/text.h"
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
    while (turn()) std::this_thread::sleep_for(kPause);
    end_.signal = interrupt_.signal();
    return std::move(end_);
  }

 private:
  struct Slot {
    std::int64_t number;
    RunningTrial trial;
  };

  /// Whether there is more to do. What goes wrong here and not in `start` is the journal's.
  bool turn() {
    try {
      notice_ends();
      pass_on_saves();
      if (!is_stopping()) fill();
      poll_all();
      observer_.on_tick();
      return !running_.empty() || !(is_stopping() || is_done());
    } catch (const Interrupted&) {  // while the journal was awaited: the next turn stops
    } catch (const Error& problem) {
      lose_journal(problem);
    }
    return true;
  }

  static Outcome failure_of(const Error& error) {
    return {TrialState::failed, std::nullopt, error.what(), error.exit_code()};
  }

  bool is_stopping() const {
    return interrupt_.signal() != 0 || end_.out_of_time || end_.stop.has_value();
  }

  /// The first reason counts.
  void stop(Stop::Why why, const Outcome& outcome) {
    if (!end_.stop) end_.stop = {why, outcome};
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
           (!options_.count || end_.taken < *options_.count) && monotonic_seconds() >= next_look_;
  }

  void fill() {
    while (may_take()) {
      const auto claim = try_claim();
      if (!claim) {
        next_look_ = monotonic_seconds() + kIdlePause;
        return;
      }
      ++end_.taken;
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
    std::optional<Outcome> problem;
    bool is_own = false;
    try {
      running_.push_back({number, RunningTrial(queue_, files_, texts_, claim, options_, number)});
    } catch (const ConfigError& error) {  // a bad combination of values: this trial's affair
      problem = failure_of(error);
      is_own = true;
    } catch (const Error& error) {
      problem = failure_of(error);
    }
    if (problem && is_own) end(claim, *problem);
    if (!problem || is_own) return;
    stop(Stop::Why::outside, *problem);
    give_back(claim);
  }

  void give_back(const Claim& claim) {
    try {
      insist([&] { queue_.release(claim); });  // writes nothing where it is another's by now
    } catch (const Error& problem) {           // whoever finds the claim of a process that is gone
      lose_journal(problem);                   // takes it over
    }
    observer_.on_release(claim);
  }

  void lose_journal(const Error& problem) {
    has_journal_ = false;
    stop(Stop::Why::outside, failure_of(problem));
  }

  void poll_all() {
    for (auto slot = running_.begin(); slot != running_.end();) {
      const auto outcome = slot->trial.poll(has_journal_);
      if (!outcome) {
        ++slot;
        continue;
      }
      // Out of the list first: recording its end may fail.
      std::list<Slot> ended;
      ended.splice(ended.end(), running_, slot++);
      next_look_ = 0;
      settle(ended.front().trial, *outcome);
    }
  }

  void settle(const RunningTrial& trial, const Outcome& outcome) {
    if (trial.is_released() || trial.is_lost()) return give_back(trial.claim());
    if (outcome.state != TrialState::failed || trial.cause() == Cause::trial) {
      count(outcome);
      return end(trial.claim(), outcome);
    }
    if (trial.cause() == Cause::outside) {
      stop(Stop::Why::outside, outcome);
      return give_back(trial.claim());
    }
    try_again(trial.claim(), outcome);
  }

  /// After it was killed.
  void try_again(Claim claim, Outcome outcome) {
    count(outcome);
    if (claim.attempt >= queue_.definition().settings.budget.attempts) {
      outcome.reason += cat(", in attempt ", claim.attempt, " of as many (budget.attempts)");
      return end(claim, outcome);
    }
    ++claim.attempt;
    give_back(claim);
  }

  /// Trials that fail alike one after another have a cause in common. That a loss is not finite
  /// says something of the trial alone.
  void count(const Outcome& outcome) {
    if (outcome.exit_code == static_cast<int>(ErrorKind::numerics)) return;
    auto likeness = outcome.state == TrialState::failed ? outcome.reason : "";
    std::erase_if(likeness, [](char c) { return c >= '0' && c <= '9'; });
    alike_ = likeness == likeness_ ? alike_ + 1 : 1;
    likeness_ = likeness;
    const auto& limit = queue_.definition().settings.budget.max_consecutive_failures;
    if (!likeness.empty() && limit && alike_ >= *limit) stop(Stop::Why::consecutive, outcome);
  }

  void end(const Claim& claim, const Outcome& outcome) {
    insist([&] { queue_.finish(claim, outcome); });
    observer_.on_end(claim, outcome);
    if (options_.fail_fast && outcome.state == TrialState::failed)
      stop(Stop::Why::fail_fast, outcome);
  }

  /// Nothing runs here. Whether there is nothing to wait for either.
  bool is_done() {
    if (options_.count && end_.taken >= *options_.count) return true;
    if (next_look_ == 0) return false;  // not asked since the last end
    queue_.refresh();
    return options_.stays ? !queue_.is_unfinished() : !queue_.is_watching();
  }

  Queue& queue_;
  FileLayer& files_;
  const WorkerOptions& options_;
  const InterruptFlag& interrupt_;
  WorkerObserver& observer_;
  TextWatch texts_{queue_.definition().texts};
  std::list<Slot> running_;
  bool has_journal_ = true;  // false: it failed, and what runs is stopped without it
  std::string likeness_;     // of the trials that ended last: their reason without its numbers
  std::int64_t alike_ = 0;   // how many those are
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
