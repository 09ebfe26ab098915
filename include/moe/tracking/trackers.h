#pragma once

#include <memory>

#include "moe/base/log.h"
#include "moe/config/config.h"
#include "moe/tracking/run_folder.h"

namespace moe {

/// Every sink of one session of a run: the run folder, and what the config's "tracking" asks for.
/// metrics.jsonl is the truth, the others are made from it; none of them fails or slows the run.
class Trackers : public MetricSink {
 public:
  /// run.json must say when the run began.
  Trackers(RunFolder& folder, const RunConfig& config, FileLayer& files, Log& log);
  ~Trackers() override;
  Trackers(const Trackers&) = delete;
  Trackers& operator=(const Trackers&) = delete;

  void write(const MetricRow& row) override;
  /// Tells the sinks how the run ended, as run.json says. Waits for a server as long as
  /// tracking.mlflow.exit_wait allows, and warns of what stays unsent.
  void end();

 private:
  struct Sinks;
  RunFolder& folder_;
  std::unique_ptr<Sinks> sinks_;
};

/// TensorBoard's file of a run that has ended, made from its metrics.jsonl, where `config` asks for
/// one and the run has none. Returns whether it was written.
bool write_missing_tensorboard(const RunFolder& folder, const RunConfig& config, FileLayer& files,
                               Log& log);

}  // namespace moe
