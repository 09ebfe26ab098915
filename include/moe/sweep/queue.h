#pragma once

#include <filesystem>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "moe/base/file.h"
#include "moe/sweep/definition.h"
#include "moe/sweep/identity.h"
#include "moe/sweep/journal.h"
#include "moe/sweep/strategy.h"

namespace moe::sweep {

// The system attributes of a trial that are ours: who works on it, and which proposal it is.
inline constexpr const char* kClaim = "moe:claim";
inline constexpr const char* kProposal = "moe:proposal";
// What Optuna's study.enqueue_trial gives a trial.
inline constexpr const char* kFixedParams = "fixed_params";
// Those that Optuna's RetryFailedTrialCallback writes: the number of the failed trial that one
// repeats, and the numbers of all that failed on the way.
inline constexpr const char* kFailedTrial = "failed_trial";
inline constexpr const char* kRetryHistory = "retry_history";

/// A trial that this worker works on.
struct Claim {
  std::int64_t trial = 0, number = 0;  // its id in the journal, and its number: DIR/trials/<number>
  std::int64_t attempt = 1;
  std::int64_t beat = 0;
  std::int64_t seed_index = 0;  // which of the point's seeds
  Point point;
  std::string misfit = {};  // why the point is not what the trial asks for; it must not run
};

/// How a trial ended.
struct Outcome {
  TrialState state = TrialState::complete;
  std::optional<double> value;
  std::string reason;  // of a failure
  std::int64_t exit_code = 0;
};

/// Seconds between heartbeats, and without one until a claim counts as dead.
struct Pace {
  double beat_s = 10, dead_s = 60;
};

/// What became of a wish to repeat the trials that failed.
struct Repeats {
  std::int64_t count = 0;            // trials that will be repeated
  std::vector<std::string> refused;  // "trial 3: ...": the space no longer has their points
};

/// The trials of a sweep, shared by every worker through its journal (ADR 0021).
class Queue {
 public:
  /// The study is created in the journal where it is not there. Throws ResourceError when it is
  /// not, but trials are.
  Queue(std::filesystem::path dir, Definition definition, FileLayer& files, Pace pace = {},
        const LongWait& wait = {});

  const Definition& definition() const { return definition_; }
  const std::filesystem::path& dir() const { return dir_; }
  const Study& study() const { return journal_.study(); }
  const PassedOverLines& passed_over() const { return journal_.passed_over(); }
  void refresh() { journal_.refresh(); }

  /// The next piece of work: a trial whose worker died or gave it back, one that a user enqueued,
  /// or a new one. nullopt: there is none now. Throws ResourceError when the study is gone.
  std::optional<Claim> claim();
  /// Enqueues each failed trial that nobody has repeated again, as a new trial of the same point
  /// (ADR 36), if the space still has that.
  Repeats retry_failed();
  /// Whether trials of other workers are running of which it is not known yet whether these live.
  bool is_watching() const;
  /// Whether anything is waiting or running, whoever works on it.
  bool is_unfinished() const;

  /// The heartbeat, once it is due. False: another worker took the trial over; drop it.
  bool beat(Claim& claim);
  /// New values of the objective. True: the pruner wants it stopped.
  bool report(const Claim& claim, const std::vector<std::pair<std::int64_t, double>>& values);
  /// Its end, unless another worker took it over.
  void finish(const Claim& claim, const Outcome& outcome);
  /// Gives it back, to go on later from its checkpoint.
  void release(const Claim& claim);

 private:
  struct Seen {
    std::int64_t beat = -1;
    double since = 0;  // [s] monotonic
    bool has_moved = false;
  };

  [[noreturn]] void refuse_without_study() const;
  bool is_dead(const Trial& trial, const Json& claim);
  std::optional<Claim> take_over(const Study& study, Operations& operations);
  std::optional<Claim> take_waiting(const Study& study, Operations& operations);
  std::optional<Claim> propose(const Study& study, Operations& operations);
  Point completed(const Trial& trial) const;
  std::string reason_against_repeat(const Trial& trial) const;
  bool holds(std::int64_t trial) const;
  Json claim_json(const Claim& claim) const;

  std::filesystem::path dir_;
  Definition definition_;
  Pace pace_;
  Identity identity_;
  Journal journal_;
  std::unique_ptr<Strategy> strategy_;
  std::map<std::int64_t, Seen> seen_;  // running trials of others, by id
  std::map<std::int64_t, double> beaten_at_;
  std::int64_t trials_;
};

/// What came of the points so far, in the order of their first trials; a point's value is the mean
/// over its finished seeds, negated where the objective is to be maximised.
std::vector<Observation> observations(const Definition& definition, const Study& study);

/// The number of the trial's proposal, seeds counted; nullopt for trials that Python added.
std::optional<std::int64_t> proposal_of(const Trial& trial);

/// The trial's parameters in this sweep's space; what does not fit is left out.
Point point_of(const Space& space, const Trial& trial);

/// Those, and what Python enqueued it with: active or not, what does not fit left out.
Point given_point(const Space& space, const Trial& trial);

/// What the trial was given and does not have in `point`, by key and value, and active keys that
/// have no value there; "" when the point is what it asks for.
std::string misfit(const Space& space, const Trial& trial, const Point& point);

}  // namespace moe::sweep
