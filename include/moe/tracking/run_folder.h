#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <string_view>
#include <vector>

#include "moe/base/file.h"
#include "moe/base/json.h"
#include "moe/tracking/metrics.h"

namespace moe {

/// What run.json (`facts`) says of the status of the run, or "" where it says nothing; "killed"
/// where it says "running" and no process holds the run's lock: its process is gone.
std::string run_status(const std::filesystem::path& run, const Json& facts);

/// RUN: its lock, config.json, run.json, metrics.jsonl, samples.jsonl, tokenizer.json, log.txt.
/// Layout in docs/formats.md. Holds RUN/.lock while it lives.
class RunFolder : public MetricSink {
 public:
  /// A new run: `path` must be absent or empty. Throws ResourceError when occupied or locked. A
  /// folder that was made here goes again with this object unless something was written into it.
  static RunFolder create(const std::filesystem::path& path, FileLayer& files);
  /// A new run in `path`, or where something has that name, in `path`-2, -3, ...: of several
  /// processes that ask at once, each gets one of its own.
  static RunFolder create_next(const std::filesystem::path& path, FileLayer& files);
  /// An existing run, for --resume; left-over temporaries are swept, as far as they can be.
  static RunFolder open(const std::filesystem::path& path, FileLayer& files);

  ~RunFolder() override;
  RunFolder(const RunFolder&) = delete;
  RunFolder& operator=(const RunFolder&) = delete;

  const std::filesystem::path& path() const { return path_; }
  /// run.json as an object; {} where there is none or it does not read.
  Json read_run_json() const;
  /// Throws LockLost where RUN/.lock was removed or replaced under this object. All that writes
  /// asks this first, so that two processes never write into one run.
  void require_lock() const { lock_.require(); }
  /// Whole or not at all; indent -1 is one line.
  void write_json(std::string_view name, const Json& json, int indent = 2);
  /// Appends a row to metrics.jsonl; throws LockLost alone. One that finds no room is kept and goes
  /// before the next, after one warning on standard error.
  void write(const MetricRow& row) override;
  void write_sample(const Json& sample);  // samples.jsonl, in the same way
  /// Tries again what found no room.
  void catch_up();
  /// Leaves the rows of metrics.jsonl and samples.jsonl whose step is at most `step`, and of that
  /// step none of an evaluation unless it was `evaluated`. A line that is no row is kept aside in
  /// metrics.jsonl.bad or samples.jsonl.bad; a torn last one goes. Returns a line for each file of
  /// which something was kept aside.
  std::vector<std::string> cut_back_to(std::int64_t step, bool evaluated = true);

 private:
  RunFolder(std::filesystem::path path, FileLayer& files, FileLock lock, bool is_new);
  /// A file of lines, and those that it should have.
  struct Lines {
    const char* name;
    std::string unwritten = {};
  };
  void append_line(Lines& lines, const Json& line);
  void write_out(Lines& lines);

  std::filesystem::path path_;
  FileLayer* files_;
  FileLock lock_;
  bool is_new_;  // made by this object, and nothing was written into it so far
  bool warned_ = false;
  Lines metrics_{"metrics.jsonl"}, samples_{"samples.jsonl"};
};

}  // namespace moe
