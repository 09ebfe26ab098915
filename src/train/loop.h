#pragma once

#include <functional>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <utility>

#include "moe/base/error.h"
#include "moe/base/system.h"
#include "moe/checkpoint/checkpoint.h"
#include "moe/eval/routing_health.h"
#include "moe/model/build.h"
#include "moe/tracking/trackers.h"
#include "moe/train/device_updates.h"
#include "moe/train/material.h"
#include "moe/train/state.h"
#include "moe/train/trainer.h"

namespace moe {

/// One run from its first update to its end: what is done, in order, and who is told.
class Loop {
 public:
  Loop(const TrainRequest& request, Material material, RunFolder& folder,
       const InterruptFlag& interrupt, Log& log, FileLayer& files)
      : request_(request),
        material_(std::move(material)),
        folder_(folder),
        interrupt_(interrupt),
        log_(log),
        files_(files),
        state_(request.config, material_.vocabulary(), material_.corpus.train,
               choose_device(request.config.device)) {}

  /// Takes over the weights of another run, laid out as this one's.
  void begin_with(const at::Tensor& weights);
  /// Continues from a checkpoint.
  void resume_from(const CheckpointInfo& info);
  /// Whether nothing is left to do, not even to write that down.
  bool is_recorded_as_finished() const;
  /// What ended the session, and how the run is extended where it has finished.
  std::string end_text(const TrainSummary& done) const;
  TrainSummary run();
  TrainSummary summary() const;
  /// `ended_by` is null while it runs, and where it failed.
  void write_run_json(const std::string& status, const Json& ended_by = nullptr);
  /// Once run.json says how the run ended: tells who asked for it, then lets the trackers end.
  void end_tracking() {
    if (request_.on_end) request_.on_end(folder_.path());
    if (trackers_) trackers_->end();
  }

 private:
  /// With its last evaluation, which a signal may have cut short.
  bool finished() const {
    return (state_.at.step >= request_.config.train.max_iters || patience_is_out()) &&
           !evaluation_is_due();
  }
  EndedBy ended_by() const;
  /// Says what another device, max_iters or schedule changes.
  void warn_of_changes(const CheckpointInfo& info, const SavedFacts& facts);
  bool evaluation_is_due() const;
  std::int64_t windows_of_evaluation() const;  // of both splits
  void warn_of_long_evaluations() const;
  void evaluate();
  /// Train and validation loss, and on the way what the routers do with the validation split.
  std::pair<double, double> losses(RoutingTallies& routing);
  void note_loss(double val);
  void write_routing(const RoutingTallies& routing);
  void maybe_evaluate();
  void save_when_due();
  void save();
  bool save_or_warn();  // whether it is saved
  bool save_is_asked() const { return interrupt_.saves_asked() != saves_heeded_; }
  void save_if_asked();
  void report(const StepResult& result);
  /// Whether the row of metrics of the step just made is to be written.
  bool report_is_due() const {
    return state_.at.step == 1 || due(request_.config.train.log_interval);
  }
  /// Waits for the updates that a device was asked for, before anybody reads what they did.
  void settle();
  void sample();
  void update();
  /// Reports what `made` returns, or ends the run if it finds values that are not finite.
  void report_or_refuse(const std::function<StepResult()>& made);
  NumericsError diverged(std::string_view what, std::int64_t step) const;
  bool patience_is_out() const;
  bool due(std::int64_t interval) const { return state_.at.step % interval == 0; }
  double seconds() const { return seconds_before_ + monotonic_seconds() - begin_; }
  std::string progress_line(const StepResult& result, double tokens_per_second) const;

  const TrainRequest& request_;
  Material material_;
  RunFolder& folder_;
  const InterruptFlag& interrupt_;
  Log& log_;
  FileLayer& files_;
  TrainState state_;
  std::optional<DeviceUpdates> device_updates_;  // while it runs, on a device
  std::optional<Trackers> trackers_;             // while it runs
  Json recorded_ = folder_.read_run_json();      // of the run that is gone on with, else {}
  Json start_ = recorded_.value("start", Json(utc_now()));
  double begin_ = monotonic_seconds(), seconds_before_ = 0;
  double reported_at_ = monotonic_seconds();  // of the last row
  std::int64_t reported_tokens_ = 0;          // that the row knew of
  std::int64_t saved_step_ = -1;
  std::set<std::int64_t> verified_;  // steps whose checkpoints were read back
  int saves_heeded_ = 0;             // of interrupt_.saves_asked()
};

}  // namespace moe
