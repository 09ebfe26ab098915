#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "moe/base/json.h"
#include "moe/tracking/metrics.h"
#include "report/scale.h"

namespace moe::report {

/// A text that the run sampled as it was trained.
struct SampledText {
  std::int64_t step = 0;
  std::string text;
};

struct Checkpoint {
  std::string name;  // "step-00000500"
  std::int64_t step = 0;
  std::uint64_t bytes = 0;
  std::string hints;  // "best", "last", "best, last", ""
  std::optional<double> val_loss;
};

/// What a run folder says; where a file is missing or damaged, less.
struct RunData {
  std::filesystem::path folder;
  std::string name;
  Json config = Json::object(), facts = Json::object(), routing = Json::object();
  Json views = Json::object();  // inspect/KEY.json by KEY, those that are there
  std::vector<MetricRow> rows;
  std::vector<SampledText> samples;
  std::vector<Checkpoint> checkpoints;  // by step
  std::vector<std::string> notices;     // what could not be read
  std::optional<PlotPoint> best;        // the least val/loss and its step

  /// The points (step, value) of one metric.
  std::vector<PlotPoint> curve(const std::string& metric) const;
  /// The last value of one metric.
  std::optional<double> last(const std::string& metric) const;
};

/// Whether a folder is a run's.
bool is_run(const std::filesystem::path& folder);

/// Throws ResourceError where it is none.
RunData read_run(const std::filesystem::path& folder);

/// The runs, each under a name that no other has: its folder's, else its path.
std::vector<RunData> read_runs(const std::vector<std::filesystem::path>& folders);

/// A folder's own name, of "runs/a/" too.
std::string folder_name(const std::filesystem::path& folder);

}  // namespace moe::report
