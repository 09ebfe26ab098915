#pragma once

#include <filesystem>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "moe/sweep/definition.h"
#include "moe/sweep/study.h"

namespace moe::sweep {

/// A sweep as it stands, for looking at it.
struct Sweep {
  std::filesystem::path dir;
  Definition definition;
  Study study;
  PassedOverLines passed_over;  // lines of the journal that could not be read
};

/// Reads DIR/sweep.json and the journal, without its lock. Throws ConfigError where there is none.
Sweep read_sweep(const std::filesystem::path& dir);

/// What to say of lines of the journal that were passed over; "" where none was.
std::string passed_over_text(const std::filesystem::path& dir, const PassedOverLines& passed_over);

/// The numbers of failed trials that a later one repeats: that one counts in their place.
std::set<std::int64_t> superseded(const Study& study);

/// What a trial is doing. Its state in the journal; but "waiting" for one that was given back, or
/// whose process is gone (no worker, and no lock in its run folder): the next worker takes it up.
TrialState present_state(const std::filesystem::path& dir, const Trial& trial);

/// How many trials of a sweep are in which state.
struct TrialCounts {
  std::int64_t complete = 0, pruned = 0, failed = 0, running = 0, waiting = 0;
  std::int64_t total = 0;  // to be run in all, trials that Python added included

  std::int64_t ended() const { return complete + pruned + failed; }
};
/// `dir` is the sweep's folder; without it, workers on other machines are taken to live.
TrialCounts counts_of(const Definition& definition, const Study& study,
                      const std::filesystem::path& dir);

/// One point of the leaderboard.
struct Standing {
  const Trial* best = nullptr;         // the best of its seeds
  std::vector<const Trial*> complete;  // its seeds
  double value = 0;                    // the mean over them
};
/// The points with a finished trial that has a run folder, best first: those of which every seed
/// has finished before the others.
std::vector<Standing> leaderboard(const Definition& definition, const Study& study);

/// {"counts": ..., "best": ..., "trials": [...]}: everything but the definition.
Json sweep_json(const Sweep& sweep);
Json trial_json(const Sweep& sweep, const Trial& trial);
/// One row a trial, one column a parameter; RFC 4180.
std::string sweep_csv(const Sweep& sweep);

/// DIR/trials/00007.
std::filesystem::path trial_folder(const std::filesystem::path& dir, std::int64_t number);

}  // namespace moe::sweep
