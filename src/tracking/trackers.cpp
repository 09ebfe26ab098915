#include "moe/tracking/trackers.h"

#include <optional>

#include "moe/base/text.h"
#include "moe/tracking/run_facts.h"
#include "tracking/mlflow_sender.h"
#include "tracking/tensorboard.h"

namespace moe {

struct Trackers::Sinks {
  std::optional<tracking::TensorBoardSink> tensorboard;
  std::optional<tracking::MlflowSender> mlflow;
  double exit_wait = 0;  // [s]
};

Trackers::Trackers(RunFolder& folder, const RunConfig& config, FileLayer& files, Log& log)
    : folder_(folder), sinks_(std::make_unique<Sinks>()) {
  const auto start = tracking::unix_seconds(tracking::text_at(folder.read_run_json(), "start"));
  if (config.tracking.tensorboard)
    sinks_->tensorboard.emplace(folder.path(), config, start, files, log);
  sinks_->exit_wait = config.tracking.mlflow.exit_wait;
  try {
    if (const auto target = tracking::mlflow_target(config.tracking.mlflow))
      sinks_->mlflow.emplace(folder.path(), config, *target, files, log);
  } catch (const ConfigError& error) {  // of an environment that is not about this run alone
    log.warn(cat(error.what(), " (training continues)"));
  }
}

Trackers::~Trackers() = default;

void Trackers::write(const MetricRow& row) {
  folder_.write(row);
  if (sinks_->tensorboard) sinks_->tensorboard->follow();
  if (sinks_->mlflow) sinks_->mlflow->wake();
}

void Trackers::end() {
  const auto run = folder_.read_run_json();
  const auto status = tracking::text_at(run, "status");
  if (sinks_->tensorboard)
    sinks_->tensorboard->end(run.value("seconds", 0.0), status == "finished");
  // The signal that stopped the run does not end the wait as well.
  if (sinks_->mlflow) sinks_->mlflow->end(sinks_->exit_wait, status != "interrupted");
}

}  // namespace moe
