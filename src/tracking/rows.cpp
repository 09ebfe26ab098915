#include "moe/tracking/rows.h"

#include <algorithm>
#include <cmath>
#include <fstream>
#include <string>

namespace moe {

namespace {

constexpr JsonLimits kRowLimits{std::size_t{16} << 20, /*max_depth=*/3};

bool all_finite(const std::vector<double>& values) {
  return std::all_of(values.begin(), values.end(),
                     [](double value) { return std::isfinite(value); });
}

bool is_list_of_numbers(const Json& value) {
  return value.is_array() && std::all_of(value.begin(), value.end(),
                                         [](const Json& entry) { return entry.is_number(); });
}

std::optional<MetricRow> row_of(const std::string& line) {
  try {
    return row_from_json(parse_json(line, "metrics.jsonl", ErrorKind::data, kRowLimits));
  } catch (const Error&) {
    return std::nullopt;
  }
}

}  // namespace

Json row_to_json(const MetricRow& row) {
  Json line = {{"step", row.step}, {"time_s", row.time_s}, {"tokens", row.tokens}};
  for (const auto& [name, value] : row.values)
    if (std::isfinite(value)) line[name] = value;
  for (const auto& [name, values] : row.vectors)
    if (all_finite(values)) line[name] = values;
  return line;
}

std::optional<MetricRow> row_from_json(const Json& line) {
  if (!line.is_object()) return std::nullopt;
  const auto step = line.find("step");
  if (step == line.end() || !step->is_number_integer()) return std::nullopt;
  MetricRow row{step->get<std::int64_t>()};
  for (const auto& [key, value] : line.items()) {
    if (key == "step") continue;
    if (key == "time_s" && value.is_number())
      row.time_s = value.get<double>();
    else if (key == "tokens" && value.is_number_integer())
      row.tokens = value.get<std::int64_t>();
    else if (value.is_number())
      row.values.emplace_back(key, value.get<double>());
    else if (is_list_of_numbers(value))
      row.vectors.push_back({key, value.get<std::vector<double>>()});
  }
  return row;
}

std::vector<MetricRow> RowReader::next(std::size_t max_bytes) {
  std::vector<MetricRow> rows;
  std::ifstream file(file_, std::ios::binary);
  file.seekg(static_cast<std::streamoff>(offset_));
  std::size_t taken = 0;
  for (std::string line; std::getline(file, line) && !file.eof();) {
    taken += line.size() + 1;
    if (auto row = row_of(line)) rows.push_back(std::move(*row));
    if (taken >= max_bytes && !rows.empty()) break;
  }
  offset_ += taken;
  return rows;
}

}  // namespace moe
