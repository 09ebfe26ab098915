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

void require_empty(const fs::path& path) {
  if (is_occupied(path, kLockName))
    throw ResourceError(cat(path.string(),
                            ": already holds files; name another folder with --out, "
                            "or go on with the run in it with --resume"));
}

/// What a line is to a run that continues from a checkpoint.
enum class LineKind { kept, later, bad };

LineKind kind_of(std::string_view text, std::int64_t step, bool evaluated) {
  const auto line = Json::parse(text, nullptr, /*allow_exceptions=*/false);
  const auto found = line.is_object() ? line.value("step", Json()) : Json();
  if (!found.is_number_integer()) return LineKind::bad;
  // An unsigned number beyond int64 would read as a negative one.
  if (found.is_number_unsigned() &&
      found.get<std::uint64_t>() > static_cast<std::uint64_t>(std::max<std::int64_t>(step, 0)))
    return LineKind::later;
  const auto at = found.get<std::int64_t>();
  const bool comes_again = at == step && !evaluated && line.contains("val/loss");
  return at > step || comes_again ? LineKind::later : LineKind::kept;
}

/// The whole lines of a file, sorted out; a torn last line is in none.
struct SortedLines {
  std::string kept, bad;
  std::size_t bad_count = 0;
};

SortedLines sort_out(std::string_view text, std::int64_t step, bool evaluated) {
  SortedLines out;
  for (std::size_t begin = 0, end = 0; begin < text.size(); begin = end + 1) {
    end = text.find('\n', begin);
    if (end == std::string_view::npos) break;
    const auto line = text.substr(begin, end - begin);
    const auto kind = kind_of(line, step, evaluated);
    if (kind == LineKind::later) continue;
    (kind == LineKind::kept ? out.kept : out.bad).append(line).append("\n");
    if (kind == LineKind::bad) ++out.bad_count;
  }
  return out;
}

}  // namespace

std::string run_status(const fs::path& run, const Json& facts) {
  const auto status = tracking::text_at(facts, "status");
  return status == "running" && !FileLock::is_held(run / kLockName) ? "killed" : status;
}

RunFolder::RunFolder(fs::path path, FileLayer& files, FileLock lock, bool is_new)
    : path_(std::move(path)), files_(&files), lock_(std::move(lock)), is_new_(is_new) {}

RunFolder::~RunFolder() {
  if (!is_new_ || !lock_.is_current()) return;
  std::error_code ignored;  // a refused request leaves nothing behind where it can be helped
  fs::remove(path_ / kLockName, ignored);
  fs::remove(path_, ignored);
}

RunFolder RunFolder::create(const fs::path& path, FileLayer& files) {
  const auto type = type_of(path, ErrorKind::resource);
  if (type != fs::file_type::not_found && type != fs::file_type::directory)
    throw ResourceError(cat(path.string(), ": is a file; name a folder with --out"));
  const bool is_new = type == fs::file_type::not_found;
  // No lock is left in a folder that is not a run's; in one that is, its holder is named first.
  if (!is_new && !is_there(path / kLockName, ErrorKind::resource)) require_empty(path);
  files.make_folder(path);
  auto lock = files.lock(path / kLockName);
  require_empty(path);
  return {path, files, std::move(lock), is_new};
}

RunFolder RunFolder::create_next(const fs::path& path, FileLayer& files) {
  auto folder = path;
  for (int i = 2; !files.make_new_folder(folder); ++i) folder = cat(path.string(), "-", i);
  return {folder, files, files.lock(folder / kLockName), /*is_new=*/true};
}

RunFolder RunFolder::open(const fs::path& path, FileLayer& files) {
  if (!is_folder(path, ErrorKind::resource))
    throw ResourceError(cat(path.string(), ": is not a run folder; name one with --out"));
  auto lock = files.lock(path / kLockName);
  files.sweep_temporaries(path);
  files.sweep_temporaries(path / "checkpoints");
  return {path, files, std::move(lock), /*is_new=*/false};
}

Json RunFolder::read_run_json() const { return tracking::read_object(path_ / "run.json"); }

void RunFolder::write_json(std::string_view name, const Json& json, int indent) {
  require_lock();
  is_new_ = false;
  files_->replace(path_ / name, json_text(json, indent) + "\n");
}

void RunFolder::append_line(Lines& lines, const Json& line) {
  require_lock();
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
      std::fprintf(stderr, "warning: %s (training continues)\n",
                   without_controls(error.what()).c_str());
    warned_ = true;
  }
}

void RunFolder::catch_up() {
  for (auto* lines : {&metrics_, &samples_}) write_out(*lines);
}

void RunFolder::write(const MetricRow& row) { append_line(metrics_, row_to_json(row)); }

void RunFolder::write_sample(const Json& sample) { append_line(samples_, sample); }

std::vector<std::string> RunFolder::cut_back_to(std::int64_t step, bool evaluated) {
  std::vector<std::string> notices;
  for (const auto* lines : {&metrics_, &samples_}) {
    const auto file = path_ / lines->name;
    if (!is_there(file, ErrorKind::resource)) continue;
    const auto text = read_file(file, ErrorKind::resource);
    const auto sorted = sort_out(text, step, evaluated);
    if (sorted.kept == text) continue;
    if (sorted.bad_count > 0) {
      files_->append(path_ / cat(lines->name, ".bad"), sorted.bad);
      notices.push_back(
          cat(file.string(), ": ", sorted.bad_count,
              sorted.bad_count == 1 ? " line is no row; it is" : " lines are no rows; they are",
              " kept aside in ", lines->name, ".bad"));
    }
    // Cutting needs no room on the disk; only what stands between rows makes a new file.
    if (text.starts_with(sorted.kept))
      files_->truncate(file, sorted.kept.size());
    else
      files_->replace(file, sorted.kept);
  }
  return notices;
}

}  // namespace moe
