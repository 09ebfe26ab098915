#pragma once

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

namespace moe {

/// One quantity with a value for each of several like things, by their index: "moe/layer3/load" has
/// the share of each expert. A list in metrics.jsonl, a histogram over the index in TensorBoard, a
/// metric an index in MLflow ("moe/layer3/load/0", ...).
struct MetricVector {
  std::string name;
  std::vector<double> values;
};

/// What was measured at one step; names and units stand in docs/metrics.md. What is not finite is
/// left out when written: a value, or the whole of a vector.
struct MetricRow {
  std::int64_t step = 0;
  double time_s = 0;        // trained so far [s]
  std::int64_t tokens = 0;  // learned from so far
  std::vector<std::pair<std::string, double>> values = {};
  std::vector<MetricVector> vectors = {};
};

/// Where numbers go. The trainer knows this interface, never a file or a terminal.
class MetricSink {
 public:
  virtual ~MetricSink() = default;
  virtual void write(const MetricRow& row) = 0;
};

}  // namespace moe
