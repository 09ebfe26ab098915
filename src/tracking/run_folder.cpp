#include "moe/tracking/run_folder.h"

#include <algorithm>
#include <cstdio>

#include "moe/base/text.h"
#include "moe/tracking/rows.h"
#include "moe/tracking/run_facts.h"

namespace moe {

namespace {

constexpr std::string_view kLockName = ".lock";
constexpr std::size_t kMostUnwritten = std::size_t{16} << 20;  // [bytes] of lines kept in memory

bool is_occupied(const fs::path& path) {
  for (const auto& entry : fs::directory_iterator(path))
    if (entry.path().filename() != kLockName) return true;
  return false;
}

void require_empty(const fs::path& path) {
  if (is_occupied(path))
    throw ResourceError(cat(path.string(),
                            ": holds files already; name another folder with --out, "
                            "or go on with the run in it with --resume"));
}

void sweep_temporaries(const fs::path& folder, FileLayer& files) {
  std::vector<fs::path> left_over;
  std::error_code ignored;
  for (const auto& entry : fs::directory_iterator(folder, ignored))
    if (entry.path().filename().string().starts_with(kTemporaryPrefix))
      left_over.push_back(entry.path());
  for (const auto& path : left_over) files.remove(path);
}

bool has_step_up_to(const Json& line, std::int64_t step) {
  const auto found = line.value("step", Json());
  // An unsigned number beyond int64 would read as a negative one.
  if (found.is_number_unsigned())
    return step >= 0 && found.get<std::uint64_t>() <= static_cast<std::uint64_t>(step);
  return found.is_number_integer() && found.get<std::int64_t>() <= step;
}

/// Bytes of the whole lines at the front whose step is at most `step`.
std::uint64_t bytes_up_to(std::string_view text, std::int64_t step) {
  std::size_t kept = 0;
  while (true) {
    const auto end = text.find('\n', kept);
    if (end == std::string_view::npos) return kept;  // a torn last line goes
    const auto line =
        Json::parse(text.substr(kept, end - kept), nullptr, /*allow_exceptions=*/false);
    if (!line.is_object() || !has_step_up_to(line, step)) return kept;
    kept = end + 1;
  }
}

}  // namespace

std::string run_status(const fs::path& run, const Json& facts) {
  const auto status = tracking::text_at(facts, "status");
  return status == "running" && !FileLock::is_held(run / kLockName) ? "killed" : status;
}

RunFolder::RunFolder(fs::path path, FileLayer& files, FileLock lock, bool is_new)
    : path_(std::move(path)), files_(&files), lock_(std::move(lock)), is_new_(is_new) {}

RunFolder::~RunFolder() {
  if (!is_new_) return;
  std::error_code ignored;  // a refused request leaves nothing behind where it can be helped
  fs::remove(path_ / kLockName, ignored);
  fs::remove(path_, ignored);
}

RunFolder RunFolder::create(const fs::path& path, FileLayer& files) {
  std::error_code ignored;
  if (fs::exists(path, ignored) && !fs::is_directory(path, ignored))
    throw ResourceError(cat(path.string(), ": is a file; name a folder with --out"));
  const bool is_new = !fs::exists(path, ignored);
  // No lock is left in a folder that is not a run's; in one that is, its holder is named first.
  if (!is_new && !fs::exists(path / kLockName, ignored)) require_empty(path);
  files.make_folder(path);
  FileLock lock(path / kLockName);
  require_empty(path);
  return {path, files, std::move(lock), is_new};
}

RunFolder RunFolder::open(const fs::path& path, FileLayer& files) {
  std::error_code ignored;
  if (!fs::is_directory(path, ignored))
    throw ResourceError(cat(path.string(), ": is not a run folder; name one with --out"));
  FileLock lock(path / kLockName);
  sweep_temporaries(path, files);
  sweep_temporaries(path / "checkpoints", files);
  return {path, files, std::move(lock), /*is_new=*/false};
}

Json RunFolder::read_run_json() const { return tracking::read_object(path_ / "run.json"); }

void RunFolder::write_json(std::string_view name, const Json& json, int indent) {
  is_new_ = false;
  files_->replace(path_ / name, json_text(json, indent) + "\n");
}

void RunFolder::append_line(Lines& lines, const Json& line) {
  is_new_ = false;
  if (lines.unwritten.size() < kMostUnwritten) lines.unwritten += json_text(line) + "\n";
  write_out(lines);
}

void RunFolder::write_out(Lines& lines) {
  if (lines.unwritten.empty()) return;
  try {
    files_->append(path_ / lines.name, lines.unwritten);
    lines.unwritten.clear();
  } catch (const ResourceError& error) {
    if (!warned_)
      std::fprintf(stderr, "warning: %s (training goes on)\n",
                   without_controls(error.what()).c_str());
    warned_ = true;
  }
}

void RunFolder::catch_up() {
  for (auto* lines : {&metrics_, &samples_}) write_out(*lines);
}

void RunFolder::write(const MetricRow& row) { append_line(metrics_, row_to_json(row)); }

void RunFolder::write_sample(const Json& sample) { append_line(samples_, sample); }

void RunFolder::cut_back_to(std::int64_t step) {
  for (const auto* lines : {&metrics_, &samples_}) {
    const auto file = path_ / lines->name;
    if (!fs::exists(file)) continue;
    const auto text = read_file(file, ErrorKind::resource);
    const auto kept = bytes_up_to(text, step);
    if (kept < text.size()) files_->truncate(file, kept);
  }
}

}  // namespace moe
