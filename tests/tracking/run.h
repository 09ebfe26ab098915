#pragma once

#include <algorithm>
#include <cstdint>
#include <filesystem>
#include <fstream>
#include <sstream>
#include <string>
#include <vector>

#include "moe/base/file.h"
#include "moe/base/json.h"
#include "moe/tracking/run_folder.h"
#include "tests/base/scratch.h"

namespace moe::test {

inline std::string content(const fs::path& path) { return read_file(path, ErrorKind::data); }

inline void write(const fs::path& path, const std::string& text) {
  std::ofstream(path, std::ios::binary) << text;
}

/// The lines of a file, each read strictly: NaN, a torn line or garbage is an error.
inline std::vector<Json> rows_of(const fs::path& path) {
  std::vector<Json> rows;
  std::istringstream text(content(path));
  for (std::string line; std::getline(text, line);)
    rows.push_back(parse_json(line, path.string(), ErrorKind::data));
  return rows;
}
inline std::vector<std::int64_t> steps_of(const fs::path& path) {
  std::vector<std::int64_t> steps;
  for (const auto& row : rows_of(path)) steps.push_back(row.at("step").get<std::int64_t>());
  return steps;
}

inline std::vector<std::string> names_in(const fs::path& folder) {
  std::vector<std::string> names;
  for (const auto& entry : fs::directory_iterator(folder)) names.push_back(entry.path().filename());
  std::sort(names.begin(), names.end());
  return names;
}

/// A run in `scratch`/run, whose file layer fails as planned.
struct ScratchRun {
  explicit ScratchRun(const char* fault = nullptr)
      : files(fault != nullptr ? FaultPlan::parse(fault) : FaultPlan{}),
        folder(RunFolder::create(scratch / "run", files)) {}
  fs::path metrics() const { return folder.path() / "metrics.jsonl"; }
  fs::path samples() const { return folder.path() / "samples.jsonl"; }
  Scratch scratch;
  FileLayer files;  // its first operation makes the folder
  RunFolder folder;
};

}  // namespace moe::test
