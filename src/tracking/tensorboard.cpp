#include "tracking/tensorboard.h"

#include <algorithm>
#include <charconv>
#include <vector>

#include "moe/base/text.h"
#include "moe/tracking/run_facts.h"
#include "moe/tracking/trackers.h"
#include "tracking/events.h"
#include "tracking/record.h"

namespace moe::tracking {

namespace {

constexpr std::string_view kPrefix = "events.out.tfevents.";
constexpr std::string_view kMark = ".makemoe.";  // event files of others are left alone

struct SessionFile {
  fs::path path;
  int session = 0;
};

std::vector<SessionFile> session_files(const fs::path& run) {
  std::vector<SessionFile> out;
  std::error_code ignored;
  for (const auto& entry : fs::directory_iterator(run, ignored)) {
    const auto name = entry.path().filename().string();
    const auto mark = name.find(kMark);
    if (!name.starts_with(kPrefix) || mark == std::string::npos) continue;
    SessionFile file{entry.path()};
    const auto number = std::string_view(name).substr(mark + kMark.size());
    std::from_chars(number.data(), number.data() + number.size(), file.session);
    out.push_back(std::move(file));
  }
  return out;
}

/// Readers take the files of a folder in the order of their names: sessions count up with zeros in
/// front.
std::string name_of(double start, int session) {
  constexpr std::size_t kDigits = 4;
  auto number = std::to_string(session);
  number.insert(0, kDigits - std::min(kDigits, number.size()), '0');
  return cat(kPrefix, static_cast<std::int64_t>(start), kMark, number);
}

}  // namespace

TensorBoardSink::TensorBoardSink(fs::path run, const RunConfig& config, double start,
                                 FileLayer& files, Log& log)
    : run_(std::move(run)),
      reader_(run_ / "metrics.jsonl"),
      config_(flat_config(config)),
      start_(start),
      files_(files),
      log_(log) {
  begin_session();
}

void TensorBoardSink::begin_session() {
  const auto before = session_files(run_);
  int session = 1;
  for (const auto& file : before) session = std::max(session, file.session + 1);
  file_ = run_ / name_of(start_, session);
  try {
    write_session();
    for (const auto& file : before) files_.remove(file.path);
    is_whole_ = true;
  } catch (const ResourceError& error) {
    fail(error.what());
  }
}

void TensorBoardSink::write_session() {
  std::string records;
  append_record(records, version_event(start_));
  append_record(records, restart_event(start_, 0));
  append_record(records, hparams_event(start_, config_));
  append_record(records, session_start_event(start_, config_));
  files_.replace(file_, records);
  reader_ = RowReader(run_ / "metrics.jsonl");
  copy_rows();
}

void TensorBoardSink::copy_rows() {
  for (auto rows = reader_.next(); !rows.empty(); rows = reader_.next()) {
    std::string records;
    for (const auto& row : rows) append_record(records, row_event(start_ + row.time_s, row));
    files_.append(file_, records);
  }
}

void TensorBoardSink::follow() {
  if (!is_whole_) return;
  try {
    copy_rows();
  } catch (const ResourceError& error) {
    fail(error.what());
  }
}

void TensorBoardSink::end(double seconds, bool succeeded) {
  if (!is_whole_) begin_session();
  if (!is_whole_) return;
  std::string record;
  append_record(record, session_end_event(start_ + seconds, succeeded));
  try {
    files_.append(file_, record);
  } catch (const ResourceError& error) {
    fail(error.what());
  }
}

void TensorBoardSink::fail(const std::string& what) {
  is_whole_ = false;
  if (!warned_)
    log_.warn(cat(what, " (training continues; TensorBoard's file is made anew at the end)"));
  warned_ = true;
}

}  // namespace moe::tracking

namespace moe {

bool write_missing_tensorboard(const RunFolder& folder, const RunConfig& config, FileLayer& files,
                               Log& log) {
  if (!config.tracking.tensorboard || !tracking::session_files(folder.path()).empty()) return false;
  const auto run = folder.read_run_json();
  tracking::TensorBoardSink sink(
      folder.path(), config, tracking::unix_seconds(tracking::text_at(run, "start")), files, log);
  sink.end(run.value("seconds", 0.0), tracking::text_at(run, "status") == "finished");
  return !tracking::session_files(folder.path()).empty();
}

}  // namespace moe
