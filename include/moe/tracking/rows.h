#pragma once

#include <cstddef>
#include <filesystem>
#include <optional>
#include <vector>

#include "moe/base/json.h"
#include "moe/tracking/metrics.h"

namespace moe {

/// A line of metrics.jsonl: step, time_s, tokens, then the values, then the vectors as lists; what
/// is not finite is left out.
Json row_to_json(const MetricRow& row);

/// The reverse; nullopt for what is no row: no object, or without a step. Members that are neither
/// a number nor a list of numbers are passed over.
std::optional<MetricRow> row_from_json(const Json& line);

/// Reads metrics.jsonl from its beginning, and goes on as the file grows. Only whole lines are
/// read, so that a row being written or torn never shows; a line that is no row is passed over.
class RowReader {
 public:
  explicit RowReader(std::filesystem::path file) : file_(std::move(file)) {}
  /// The next rows, about `max_bytes` of lines; none only where there are no more whole lines or
  /// the file is not there.
  std::vector<MetricRow> next(std::size_t max_bytes = std::size_t{1} << 20);

 private:
  std::filesystem::path file_;
  std::size_t offset_ = 0;
};

}  // namespace moe
