#include <algorithm>
#include <fstream>
#include <set>

#include "moe/base/error.h"
#include "moe/base/json.h"
#include "sweep/trial_process.h"

namespace moe::sweep {

namespace {

/// A line as an object; {} for anything else.
Json row_of(const std::string& line) {
  try {
    auto row = parse_json(line, "metrics", ErrorKind::data);
    return row.is_object() ? row : Json::object();
  } catch (const Error&) {
    return Json::object();
  }
}

}  // namespace

std::vector<std::pair<std::int64_t, double>> MetricTail::read() {
  std::vector<std::pair<std::int64_t, double>> out;
  std::ifstream file(file_, std::ios::binary | std::ios::ate);
  if (!file) return out;
  const auto size = static_cast<std::uint64_t>(file.tellg());
  if (size < offset_) offset_ = 0;
  if (size == offset_) return out;
  file.seekg(static_cast<std::streamoff>(offset_));
  for (std::string line; std::getline(file, line) && !file.eof();) {
    offset_ += line.size() + 1;
    const auto row = row_of(line);
    const auto step = row.value("step", Json()), value = row.value(metric_, Json());
    if (step.is_number_integer() && value.is_number())
      out.emplace_back(step.get<std::int64_t>(), value.get<double>());
  }
  return out;
}

std::vector<std::string> metric_names(const std::filesystem::path& file) {
  constexpr int kLines = 1000;
  std::set<std::string> names;
  std::ifstream in(file);
  int count = 0;
  for (std::string line; count < kLines && std::getline(in, line); ++count) {
    const auto row = row_of(line);
    for (const auto& item : row.items())
      if (item.value().is_number()) names.insert(item.key());
  }
  return {names.begin(), names.end()};
}

}  // namespace moe::sweep
