#pragma once

#include <memory>
#include <optional>
#include <string>

#include "moe/base/file.h"
#include "moe/sweep/queue.h"
#include "moe/sweep/worker.h"
#include "sweep/trial_process.h"

namespace moe::sweep {

/// One trial between its claim and its end.
class RunningTrial {
 public:
  /// Writes the run's config and starts it; `slot` chooses the GPU. Throws ConfigError for a bad
  /// combination of values, ResourceError when it can not be started.
  RunningTrial(Queue& queue, FileLayer& files, Claim claim, const WorkerOptions& options,
               std::int64_t slot);

  const Claim& claim() const { return claim_; }
  /// Reads, reports, beats, prunes. The outcome once it has ended; `is_lost` and `is_released` say
  /// when there is none to record.
  std::optional<Outcome> poll();
  /// Asks it to stop, to be given back.
  void give_back();
  /// Asks it to save.
  void save() { process_->save(); }
  /// Another worker took it over, or it was given back: no outcome.
  bool is_lost() const { return lost_; }
  bool is_released() const { return giving_back_; }

 private:
  void follow();
  Outcome outcome_of(const Exit& exit);
  Outcome completed();

  Queue& queue_;
  Claim claim_;
  std::filesystem::path folder_;
  MetricTail tail_;
  std::unique_ptr<TrialProcess> process_;
  bool pruned_ = false, giving_back_ = false, lost_ = false;
};

}  // namespace moe::sweep
