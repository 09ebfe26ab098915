#pragma once

#include <sys/types.h>

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <utility>
#include <vector>

namespace moe::sweep {

/// What to start.
struct TrialCommand {
  std::vector<std::string> arguments;                            // the program first
  std::vector<std::pair<std::string, std::string>> environment;  // over this process's own
  std::filesystem::path messages;  // gets its standard error, appended
};

/// How a process ended.
struct Exit {
  int code = 0;    // where it ended by itself
  int signal = 0;  // not 0: died of it
};

/// A child in a process group of its own, so that a terminal's Ctrl-C does not reach it; it is
/// killed with its parent, however that ends.
class TrialProcess {
 public:
  /// Throws ResourceError when it can not be started.
  explicit TrialProcess(const TrialCommand& command);
  /// Kills what still runs.
  ~TrialProcess();
  TrialProcess(const TrialProcess&) = delete;
  TrialProcess& operator=(const TrialProcess&) = delete;

  /// nullopt while it runs. One that was told to stop and does not is killed after 60 s.
  std::optional<Exit> poll();
  /// Asks it to save and stop, once.
  void stop();
  /// Asks it to save.
  void save();

 private:
  pid_t pid_ = -1;
  double told_at_ = -1;  // [s] monotonic
};

/// Follows one metric of a run's metrics.jsonl while that grows.
class MetricTail {
 public:
  MetricTail(std::filesystem::path file, std::string metric)
      : file_(std::move(file)), metric_(std::move(metric)) {}

  /// (step, value) of whole lines written since the last call. After the file was cut back (a
  /// resumed run) it begins again.
  std::vector<std::pair<std::int64_t, double>> read();

 private:
  std::filesystem::path file_;
  std::string metric_;
  std::uint64_t offset_ = 0;
};

/// The names of the numbers in the first lines of a metrics.jsonl, for messages.
std::vector<std::string> metric_names(const std::filesystem::path& file);

}  // namespace moe::sweep
