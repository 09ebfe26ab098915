#pragma once

#include <filesystem>
#include <memory>
#include <thread>

#include "moe/base/file.h"
#include "moe/base/log.h"
#include "moe/config/config.h"
#include "tracking/mlflow_run.h"
#include "tracking/mlflow_target.h"

namespace moe::tracking {

/// Sends a run to its server from a thread of its own while it trains (ADR 0031). The trainer only
/// wakes it: what is to be sent is read from metrics.jsonl. It never throws.
class MlflowSender {
 public:
  MlflowSender(std::filesystem::path run, const RunConfig& config, const MlflowTarget& target,
               const FileLayer& files, Log& log);
  /// Without end(): gives up at once.
  ~MlflowSender();
  MlflowSender(const MlflowSender&) = delete;
  MlflowSender& operator=(const MlflowSender&) = delete;

  /// There may be new rows.
  void wake();
  /// The run ended, and run.json says how: sends the rest within `seconds`, and warns of what stays
  /// unsent. Where `heeds_signals`, one that asks to stop ends the wait.
  void end(double seconds, bool heeds_signals);

 private:
  struct Work;
  void stop();

  std::shared_ptr<Work>
      work_;  // the thread's too: one that is stuck in a look-up of a name is left
  std::thread thread_;
};

}  // namespace moe::tracking
