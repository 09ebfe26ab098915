#pragma once

#include <memory>
#include <optional>
#include <string>

#include "moe/base/file.h"
#include "moe/sweep/queue.h"
#include "moe/sweep/worker.h"
#include "sweep/cause.h"
#include "sweep/trial_process.h"

namespace moe::sweep {

/// One trial between its claim and its end.
class RunningTrial {
 public:
  /// Writes the run's config and starts it; `slot` chooses the GPU. Throws ConfigError for a bad
  /// combination of values, DataError when its text is not that of the sweep, ResourceError when it
  /// can not be started.
  RunningTrial(Queue& queue, FileLayer& files, TextWatch& texts, Claim claim,
               const WorkerOptions& options, std::int64_t slot);

  const Claim& claim() const { return claim_; }
  /// Reads, reports, beats, prunes, unless the `journal` can not be used. The outcome once it has
  /// ended; `is_lost` and `is_released` say when there is none to record, `cause` whose doing a
  /// failure is.
  std::optional<Outcome> poll(bool journal);
  Cause cause() const { return cause_; }
  /// Asks it to stop, to be given back.
  void give_back();
  /// Asks it to save.
  void save() { process_->save(); }
  /// Another worker took it over, or it was given back: no outcome.
  bool is_lost() const { return lost_; }
  bool is_released() const { return giving_back_; }

 private:
  void start();
  void follow();
  std::optional<Outcome> outcome_of(const Exit& exit);
  std::optional<Outcome> data_problem(const std::string& said);
  Outcome completed();
  Outcome of_another_text();
  Outcome failed(Cause cause, const std::string& reason, std::int64_t exit_code);

  Queue& queue_;
  FileLayer& files_;
  TextWatch& texts_;
  Claim claim_;
  RunConfig config_;
  TrialCommand command_;
  std::filesystem::path folder_;
  MetricTail tail_;
  std::unique_ptr<TrialProcess> process_;
  std::optional<Exit> exit_;
  std::uintmax_t said_before_ = 0;  // bytes of messages when the process was started
  Cause cause_ = Cause::trial;
  bool pruned_ = false, giving_back_ = false, lost_ = false, repeated_ = false;
};

}  // namespace moe::sweep
