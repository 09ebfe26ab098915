#pragma once

#include <cstdint>
#include <limits>
#include <set>
#include <span>
#include <string>
#include <vector>

#include "moe/base/json.h"
#include "moe/tracking/metrics.h"

namespace moe::tracking {

/// Which rows a server has, of a file whose steps never fall: all before `step`, and at `step`
/// those whose names are among `names`. A run that was cut back and goes on makes the same rows
/// again, so that this says which of them are not new (ADR 0031).
struct SentRows {
  std::int64_t step = std::numeric_limits<std::int64_t>::min();
  std::set<std::string> names;

  bool has(const MetricRow& row) const;
  void add(const MetricRow& row);
};

/// One request's metrics, and what the server has once it took them.
struct MetricBatch {
  Json metrics = Json::array();  // {"key", "value", "timestamp", "step"}
  SentRows after;
  std::int64_t rows = 0;  // that end in this batch
};

inline constexpr std::size_t kMostMetrics = 1000;  // MLflow refuses more in a batch

/// The rows that are not in `sent`, in as few batches as hold them. A metric's timestamp is
/// `start_ms` plus the row's time_s: the same whenever it is sent, so that the server keeps a
/// metric that comes twice once.
std::vector<MetricBatch> metric_batches(std::span<const MetricRow> rows, SentRows sent,
                                        std::int64_t start_ms);

}  // namespace moe::tracking
