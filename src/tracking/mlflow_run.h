#pragma once

#include <cstdint>
#include <filesystem>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "moe/base/file.h"
#include "moe/base/log.h"
#include "moe/config/config.h"
#include "moe/tracking/flat_config.h"
#include "moe/tracking/rows.h"
#include "tracking/mlflow_api.h"
#include "tracking/mlflow_batch.h"

namespace moe::tracking {

/// A run folder's counterpart on a server: sends what the server does not have yet, and writes down
/// in RUN/mlflow.json what it has (ADR 0031). Every step may be repeated after a failure; each
/// throws ResourceError where the server does not do it.
class MlflowRun {
 public:
  /// The objects must outlive it; `run` is RUN.
  MlflowRun(std::filesystem::path run, const RunConfig& config, Http& http, HttpAddress address,
            FileLayer& files, Log& log);

  /// Makes the run on the server, with params and tags, where it is not there.
  void announce();
  /// Says that training continues, where the server heard otherwise.
  void reopen();
  /// Sends every row of metrics.jsonl that the server does not have; returns how many.
  std::int64_t send_rows();
  /// Says how the run ended, as run.json has it, and sends the artifacts.
  void close();

  const SentRows& sent() const { return sent_; }
  const std::string& run_id() const { return ref_.run_id; }
  /// The run's page.
  std::string url() const;

 private:
  void load();
  void save();
  void find_or_create();
  void send_params();
  void warn_of_kept_params(std::vector<std::string> keys);
  std::int64_t deliver(MetricBatch batch);  // rows
  void send_artifacts();
  std::vector<std::string> artifacts() const;
  Json tags() const;

  std::filesystem::path run_;
  MlflowConfig wanted_;
  FlatConfig params_;
  Json facts_;  // run.json
  std::int64_t start_ms_;
  MlflowApi api_;
  HttpAddress address_;
  FileLayer& files_;
  Log& log_;
  RowReader reader_;
  std::vector<MetricRow> pending_;  // read, and not all of them sent

  // What RUN/mlflow.json holds.
  std::string experiment_id_, status_;
  MlflowRunRef ref_;
  SentRows sent_;
  bool has_params_ = false;
  std::optional<MetricBatch> in_flight_;  // the server may have it, or not

  std::map<std::string, std::string> there_;  // params of a run that was found again

  bool warned_ = false;
};

/// Rows of RUN/metrics.jsonl that are not in `sent`.
std::int64_t count_unsent(const std::filesystem::path& run, const SentRows& sent);

}  // namespace moe::tracking
