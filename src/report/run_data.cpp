#include "report/run_data.h"

#include <algorithm>
#include <array>
#include <fstream>
#include <iterator>

#include "moe/base/error.h"
#include "moe/base/file.h"
#include "moe/base/text.h"
#include "moe/store/checkpoints.h"
#include "moe/tracking/rows.h"
#include "moe/tracking/run_facts.h"

namespace moe::report {

namespace {

constexpr std::size_t kLongestSample = 20000;  // [bytes]
constexpr JsonLimits kLineLimits{std::size_t{1} << 20, /*max_depth=*/3};

/// The object in a file of the run; {} and a notice where it does not read.
Json object_in(RunData& run, const char* name, bool is_needed) {
  const auto file = run.folder / name;
  if (!is_there(file, ErrorKind::resource)) {
    if (is_needed) run.notices.push_back(cat(name, " is missing"));
    return Json::object();
  }
  auto object = tracking::read_object(file);
  if (object.empty()) run.notices.push_back(cat(name, " does not read, and is left out"));
  return object;
}

/// What `inspect --save` wrote.
void read_views(RunData& run) {
  for (const auto* key :
       {"ablation", "information", "depth", "top_k_sweep", "similarity", "saturation"}) {
    auto view = object_in(run, cat("inspect/", key, ".json").c_str(), /*is_needed=*/false);
    if (!view.empty()) run.views[key] = std::move(view);
  }
}

void read_rows(RunData& run) {
  const auto file = run.folder / "metrics.jsonl";
  if (is_there(file, ErrorKind::resource) && !std::ifstream(file))
    run.notices.push_back(cat("metrics.jsonl cannot be read: ", std::strerror(errno)));
  RowReader reader(file);
  for (auto rows = reader.next(); !rows.empty(); rows = reader.next())
    std::move(rows.begin(), rows.end(), std::back_inserter(run.rows));
  if (run.rows.empty()) run.notices.emplace_back("metrics.jsonl has no rows");
  const auto by_step = [](const MetricRow& a, const MetricRow& b) { return a.step < b.step; };
  if (std::is_sorted(run.rows.begin(), run.rows.end(), by_step)) return;
  run.notices.emplace_back("metrics.jsonl is not in the order of its steps, and was sorted");
  std::stable_sort(run.rows.begin(), run.rows.end(), by_step);
}

void read_samples(RunData& run) {
  std::ifstream file(run.folder / "samples.jsonl", std::ios::binary);
  for (std::string line; std::getline(file, line);) try {
      const auto json = parse_json(line, "samples.jsonl", ErrorKind::data, kLineLimits);
      const auto step = json_integer(json, "step", 0, "samples.jsonl", "", ErrorKind::data);
      run.samples.push_back({step, tracking::text_at(json, "text").substr(0, kLongestSample)});
    } catch (const Error&) {
      continue;  // torn: the report shows the others
    }
}

std::uint64_t bytes_in(const fs::path& folder) {
  std::uint64_t bytes = 0;
  for (const auto& entry : entries_of(folder, ErrorKind::resource)) {
    std::error_code error;  // of what is no file, or went away meanwhile
    const auto size = fs::file_size(entry, error);
    if (!error) bytes += size;
  }
  return bytes;
}

void mark(RunData& run, std::int64_t step, std::string_view name) {
  for (auto& checkpoint : run.checkpoints)
    if (checkpoint.step == step)
      checkpoint.hints = cat(name, checkpoint.hints.empty() ? "" : ", ", checkpoint.hints);
}

/// Which are the best and the last, as for every command that takes a checkpoint.
void name_checkpoints(RunData& run) {
  try {
    const auto newest = newest_sound(run.folder);
    if (!newest) return;
    for (const auto& one : newest->passed_over)
      run.notices.push_back(cat("checkpoint ", one.ref.folder.filename().string(),
                                one.is_foreign ? " is of another run" : " is damaged"));
    mark(run, newest->info.ref.step, "last");
    if (const auto best = best_checkpoint(newest->info)) mark(run, best->ref.step, "best");
  } catch (const CheckpointError& error) {
    run.notices.emplace_back(error.what());
  }
}

void read_checkpoints(RunData& run) {
  for (const auto& ref : list_checkpoints(run.folder)) {
    Checkpoint checkpoint{ref.folder.filename().string(), ref.step, bytes_in(ref.folder), "",
                          std::nullopt};
    const auto state = tracking::read_object(ref.folder / "state.json");
    const auto loss = state.find("last_val_loss");
    if (loss != state.end() && loss->is_number()) checkpoint.val_loss = loss->get<double>();
    run.checkpoints.push_back(std::move(checkpoint));
  }
  std::reverse(run.checkpoints.begin(), run.checkpoints.end());
  name_checkpoints(run);
}

}  // namespace

std::vector<PlotPoint> RunData::curve(const std::string& metric) const {
  std::vector<PlotPoint> out;
  for (const auto& row : rows)
    for (const auto& [key, value] : row.values)
      if (key == metric) out.push_back({static_cast<double>(row.step), value});
  return out;
}

std::optional<double> RunData::last(const std::string& metric) const {
  const auto points = curve(metric);
  return points.empty() ? std::nullopt : std::optional(points.back().y);
}

bool is_run(const fs::path& folder) {
  constexpr std::array<const char*, 3> names{"run.json", "config.json", "metrics.jsonl"};
  return std::any_of(names.begin(), names.end(),
                     [&](const char* name) { return is_file(folder / name, ErrorKind::resource); });
}

std::string folder_name(const fs::path& folder) {
  const auto path = (folder / "").lexically_normal().parent_path();
  const auto name = path.filename().string();
  return name.empty() || name == "." || name == ".." ? absolute_path(folder).string() : name;
}

RunData read_run(const fs::path& folder) {
  if (!is_run(folder))
    throw ResourceError(cat(folder.string(),
                            ": is no run folder; name one that `makemoe train` has made, or the "
                            "folder of a sweep"));
  RunData run;
  run.folder = folder;
  run.name = folder_name(folder);
  run.config = object_in(run, "config.json", /*is_needed=*/true);
  run.facts = object_in(run, "run.json", /*is_needed=*/true);
  run.routing = object_in(run, "routing.json", /*is_needed=*/false);
  read_views(run);
  read_rows(run);
  read_samples(run);
  read_checkpoints(run);
  for (const auto& point : run.curve("val/loss"))
    if (!run.best || point.y < run.best->y) run.best = point;
  return run;
}

std::vector<RunData> read_runs(const std::vector<fs::path>& folders) {
  std::vector<RunData> runs;
  runs.reserve(folders.size());
  for (const auto& folder : folders) runs.push_back(read_run(folder));
  for (std::size_t i = 0; i < runs.size(); ++i) {
    const auto name = folder_name(folders[i]);
    if (std::count_if(folders.begin(), folders.end(),
                      [&](const fs::path& other) { return folder_name(other) == name; }) > 1)
      runs[i].name = folders[i].string();
  }
  return runs;
}

}  // namespace moe::report
