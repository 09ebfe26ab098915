#include "tracking/mlflow_batch.h"

#include <algorithm>
#include <cmath>

#include "moe/base/text.h"
#include "tracking/mlflow_api.h"

namespace moe::tracking {

namespace {

std::vector<std::string> names_of(const MetricRow& row) {
  std::vector<std::string> names;
  for (const auto& [name, value] : row.values) names.push_back(name);
  for (const auto& vector : row.vectors) names.push_back(vector.name);
  return names;
}

std::vector<Json> metrics_of(const MetricRow& row, std::int64_t start_ms) {
  const auto time = start_ms + std::llround(row.time_s * 1000);
  std::vector<Json> out;
  const auto add = [&](const std::string& name, double value) {
    out.push_back({{"key", mlflow_name(name)},
                   {"value", mlflow_value(value)},
                   {"timestamp", time},
                   {"step", row.step}});
  };
  for (const auto& [name, value] : row.values) add(name, value);
  for (const auto& vector : row.vectors)
    for (std::size_t i = 0; i < vector.values.size(); ++i)
      add(cat(vector.name, "/", i), vector.values[i]);
  return out;
}

}  // namespace

bool SentRows::has(const MetricRow& row) const {
  if (row.step != step) return row.step < step;
  const auto wanted = names_of(row);
  return std::all_of(wanted.begin(), wanted.end(),
                     [&](const std::string& name) { return names.contains(name); });
}

void SentRows::add(const MetricRow& row) {
  if (row.step > step) names.clear();
  step = std::max(step, row.step);
  for (auto& name : names_of(row)) names.insert(std::move(name));
}

std::vector<MetricBatch> metric_batches(std::span<const MetricRow> rows, SentRows sent,
                                        std::int64_t start_ms) {
  std::vector<MetricBatch> batches;
  const auto before = sent;
  for (const auto& row : rows) {
    if (before.has(row)) continue;
    for (auto& metric : metrics_of(row, start_ms)) {
      if (batches.empty() || batches.back().metrics.size() == kMostMetrics)
        batches.push_back({Json::array(), sent});
      batches.back().metrics.push_back(std::move(metric));
    }
    sent.add(row);
    if (batches.empty()) continue;  // nothing measured, nothing to send
    batches.back().after = sent;
    ++batches.back().rows;
  }
  return batches;
}

}  // namespace moe::tracking
