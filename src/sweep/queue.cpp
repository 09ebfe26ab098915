#include "moe/sweep/queue.h"

#include <algorithm>

#include "moe/base/random.h"
#include "moe/base/system.h"
#include "moe/base/text.h"
#include "moe/sweep/pruner.h"
#include "moe/sweep/summary.h"

namespace moe::sweep {

namespace {

/// A trial that a worker of ours runs, ran, or gave back. Python's own running trials have no claim
/// and are left alone.
bool is_ours(const Trial& trial) {
  return trial.state == TrialState::running && trial.system(kClaim).is_object();
}

std::optional<Identity> worker_of(const Json& claim) {
  return Identity::from_json(claim.value("worker", Json()));
}

std::map<std::string, StoredParameter> stored(const Space& space, const Point& point) {
  std::map<std::string, StoredParameter> out;
  for (const auto& parameter : space.parameters())
    if (const auto value = point.find(parameter.key); value != point.end())
      out[parameter.key] = {value->second, parameter.distribution()};
  return out;
}

}  // namespace

Queue::Queue(fs::path dir, Definition definition, FileLayer& files, Pace pace, const LongWait& wait)
    : dir_(std::move(dir)),
      definition_(std::move(definition)),
      pace_(pace),
      identity_(Identity::mine()),
      journal_(dir_ / "journal.log", definition_.name, identity_.name(), files, wait),
      strategy_(make_strategy(definition_)),
      trials_(definition_.trials()) {
  journal_.transact([&](const Study& study, Operations& operations) {
    if (study.exists()) return;
    // Trials are numbered from 0 again: the folders of others would be taken for theirs.
    if (is_there(dir_ / "trials", ErrorKind::resource)) refuse_without_study();
    operations.create_study(definition_.name, definition_.settings.objective.direction);
  });
}

void Queue::refuse_without_study() const {
  throw ResourceError(cat((dir_ / "journal.log").string(), ": has no study \"",
                          printable(definition_.name), "\", but trials of one are in ",
                          (dir_ / "trials").string(),
                          "; put the journal back, or name another folder with --out"));
}

Json Queue::claim_json(const Claim& claim) const {
  return {{"worker", identity_.to_json()},
          {"attempt", claim.attempt},
          {"beat", claim.beat},
          {"time", utc_now()}};
}

bool Queue::is_dead(const Trial& trial, const Json& claim) {
  const auto worker = worker_of(claim);
  if (!worker || *worker == identity_) return false;
  if (!worker->may_live()) return true;
  auto& seen = seen_[trial.id];
  if (worker->domain == identity_.domain) {  // it lives, and its end will show at once
    seen.has_moved = true;
    return false;
  }
  // Another machine: its clock says nothing here, but its beat moves while it lives.
  const auto beat = whole_in(claim, "beat").value_or(0);
  if (beat != seen.beat) {
    seen.has_moved = seen.beat >= 0;
    seen.beat = beat;
    seen.since = monotonic_seconds();
  }
  return monotonic_seconds() - seen.since > pace_.dead_s;
}

std::optional<Claim> Queue::take_over(const Study& study, Operations& operations) {
  for (const auto& trial : study.trials()) {
    if (!is_ours(trial)) continue;
    const auto held = trial.system(kClaim);
    const bool given_back = !worker_of(held);
    if (!given_back && !is_dead(trial, held)) continue;
    Claim claim{trial.id, trial.number, whole_in(held, "attempt").value_or(1), 0, 0, {}};
    claim.beat = whole_in(held, "beat").value_or(0) + 1;  // so that observers see another one
    if (!given_back && claim.attempt >= definition_.settings.budget.attempts) {
      operations.set_user(trial.id, "reason",
                          cat("its worker died ", claim.attempt, " times (budget.attempts)"));
      operations.finish(trial.id, TrialState::failed, std::nullopt);
      continue;
    }
    claim.attempt += given_back ? 0 : 1;
    claim.point = point_of(definition_.space, trial);
    claim.misfit = misfit(definition_.space, trial, claim.point);
    claim.seed_index = proposal_of(trial).value_or(0) % definition_.settings.seeds;
    operations.set_system(trial.id, kClaim, claim_json(claim));
    seen_.erase(trial.id);
    return claim;
  }
  return std::nullopt;
}

/// What the trial has, and the rest drawn.
Point Queue::completed(const Trial& trial) const {
  const auto seed = static_cast<std::uint64_t>(definition_.settings.strategy.seed);
  return random_point(definition_.space, stream_key(seed, "enqueued"),
                      static_cast<std::uint64_t>(trial.number),
                      given_point(definition_.space, trial));
}

/// One that waits, a repeat or enqueued from Python. One that does not fit gets no values of ours:
/// it will be failed, with what was asked for as it stands.
std::optional<Claim> Queue::take_waiting(const Study& study, Operations& operations) {
  const auto& space = definition_.space;
  for (const auto& trial : study.trials()) {
    if (trial.state != TrialState::waiting) continue;
    Claim claim{trial.id, trial.number, 1, 0, 0, {}};
    claim.seed_index = proposal_of(trial).value_or(0) % definition_.settings.seeds;
    claim.point = completed(trial);
    claim.misfit = misfit(space, trial, claim.point);
    if (!claim.misfit.empty()) claim.point = point_of(space, trial);
    operations.start_waiting(trial.id);
    for (const auto& [key, parameter] : stored(space, claim.point))
      if (!trial.parameters.contains(key)) operations.set_parameter(trial.id, key, parameter);
    operations.set_system(trial.id, kClaim, claim_json(claim));
    return claim;
  }
  return std::nullopt;
}

std::optional<Claim> Queue::propose(const Study& study, Operations& operations) {
  std::int64_t next = 0;
  const Trial* same_point = nullptr;
  for (const auto& trial : study.trials())
    if (const auto proposal = proposal_of(trial)) next = std::max(next, *proposal + 1);
  if (next >= trials_) return std::nullopt;
  const auto seeds = definition_.settings.seeds;
  for (const auto& trial : study.trials())
    if (const auto proposal = proposal_of(trial); proposal && *proposal / seeds == next / seeds)
      same_point = &trial;
  const auto point = same_point != nullptr
                         ? point_of(definition_.space, *same_point)
                         : strategy_->propose(next / seeds, observations(definition_, study));
  if (!point) return std::nullopt;
  Claim claim{-1, -1, 1, 0, next % seeds, *point};
  operations.create_trial(stored(definition_.space, *point),
                          {{"seed", definition_.base.seed + claim.seed_index}},
                          {{kProposal, next}, {kClaim, claim_json(claim)}});
  return claim;
}

std::optional<Claim> Queue::claim() {
  std::optional<Claim> claim;
  journal_.transact([&](const Study& study, Operations& operations) {
    if (!study.exists()) refuse_without_study();  // deleted from Python meanwhile
    claim = take_over(study, operations);
    if (!claim) claim = take_waiting(study, operations);
    if (!claim) claim = propose(study, operations);
  });
  if (!claim) return claim;
  if (claim->trial < 0) {  // the newest one that is ours
    const auto made = std::find_if(study().trials().rbegin(), study().trials().rend(),
                                   [&](const Trial& trial) { return holds(trial.id); });
    if (made == study().trials().rend()) return std::nullopt;
    claim->trial = made->id;
    claim->number = made->number;
  }
  beaten_at_[claim->trial] = monotonic_seconds();
  return claim;
}

/// A trial that has no parameters was enqueued, and never got beyond that.
std::string Queue::reason_against_repeat(const Trial& trial) const {
  const auto& space = definition_.space;
  return misfit(space, trial, trial.parameters.empty() ? completed(trial) : point_of(space, trial));
}

Repeats Queue::retry_failed() {
  Repeats repeats;
  journal_.transact([&](const Study& study, Operations& operations) {
    const auto repeated = superseded(study);
    repeats = {};
    for (const auto& trial : study.trials()) {
      const bool ran_here = trial.system(kClaim).is_object();
      if (trial.state != TrialState::failed || !ran_here || repeated.contains(trial.number))
        continue;
      if (const auto reason = reason_against_repeat(trial); !reason.empty()) {
        repeats.refused.push_back(cat("trial ", trial.number, ": ", reason));
        continue;
      }
      auto user = trial.user_attributes;
      for (const auto* key : {"reason", "exit_code"}) user.erase(key);
      Json system = {{kFailedTrial, trial.number}, {kRetryHistory, Json::array()}};
      system.update(trial.system_attributes);  // a repeat of a repeat names the first one
      system.erase(kClaim);
      if (!system[kRetryHistory].is_array()) system[kRetryHistory] = Json::array();
      system[kRetryHistory].push_back(trial.number);
      operations.create_trial(trial.parameters, user, system, TrialState::waiting);
      ++repeats.count;
    }
  });
  return repeats;
}

bool Queue::is_watching() const {
  return std::any_of(study().trials().begin(), study().trials().end(), [&](const Trial& trial) {
    if (!is_ours(trial) || holds(trial.id)) return false;
    const auto seen = seen_.find(trial.id);
    return seen == seen_.end() || !seen->second.has_moved;
  });
}

bool Queue::is_unfinished() const {
  return std::any_of(study().trials().begin(), study().trials().end(), [](const Trial& trial) {
    return is_ours(trial) || trial.state == TrialState::waiting;
  });
}

bool Queue::holds(std::int64_t id) const {
  const auto* trial = study().find(id);
  if (trial == nullptr || trial->state != TrialState::running) return false;
  const auto held = trial->system(kClaim);
  return held.is_object() && worker_of(held) == identity_;
}

bool Queue::beat(Claim& claim) {
  if (monotonic_seconds() - beaten_at_[claim.trial] < pace_.beat_s) return true;
  bool mine = false;
  ++claim.beat;
  journal_.transact([&](const Study&, Operations& operations) {
    mine = holds(claim.trial);
    if (mine) operations.set_system(claim.trial, kClaim, claim_json(claim));
  });
  beaten_at_[claim.trial] = monotonic_seconds();
  return mine;
}

bool Queue::report(const Claim& claim, const std::vector<std::pair<std::int64_t, double>>& values) {
  journal_.transact([&](const Study& study, Operations& operations) {
    if (!holds(claim.trial)) return;
    const auto* trial = study.find(claim.trial);
    for (const auto& [step, value] : values)
      if (!trial->reported.contains(step)) operations.report(claim.trial, step, value);
  });
  const auto* trial = study().find(claim.trial);
  return holds(claim.trial) && trial != nullptr && should_prune(definition_, study(), *trial);
}

void Queue::finish(const Claim& claim, const Outcome& outcome) {
  journal_.transact([&](const Study&, Operations& operations) {
    if (!holds(claim.trial)) return;
    if (!outcome.reason.empty()) operations.set_user(claim.trial, "reason", outcome.reason);
    if (outcome.exit_code != 0) operations.set_user(claim.trial, "exit_code", outcome.exit_code);
    operations.finish(claim.trial, outcome.state, outcome.value);
  });
}

void Queue::release(const Claim& claim) {
  journal_.transact([&](const Study&, Operations& operations) {
    if (!holds(claim.trial)) return;
    auto free = claim_json(claim);
    free["worker"] = nullptr;
    operations.set_system(claim.trial, kClaim, free);
  });
}

}  // namespace moe::sweep
