#pragma once

#include <filesystem>
#include <string>

#include "moe/base/file.h"
#include "moe/base/log.h"
#include "moe/config/config.h"
#include "moe/tracking/flat_config.h"
#include "moe/tracking/rows.h"

namespace moe::tracking {

/// RUN's events.out.tfevents file: one a session of the run, made whole from config and
/// metrics.jsonl when the session begins and following that file since (ADR 0030). A disk that is
/// full costs rows until the end, and one warning; nothing is thrown.
class TensorBoardSink {
 public:
  /// `start` is when the run began [s since 1970]; an event's time is that plus the row's time_s.
  TensorBoardSink(std::filesystem::path run, const RunConfig& config, double start,
                  FileLayer& files, Log& log);
  /// There may be new rows.
  void follow();
  /// Says how the run ended, `seconds` after it began. Where rows could not be written, the file is
  /// made once more.
  void end(double seconds, bool succeeded);

 private:
  void begin_session();
  void write_session();
  void copy_rows();
  void fail(const std::string& what);

  std::filesystem::path run_, file_;
  RowReader reader_;
  FlatConfig config_;
  double start_;
  FileLayer& files_;
  Log& log_;
  bool is_whole_ = false;  // file_ holds every row that reader_ gave
  bool warned_ = false;
};

}  // namespace moe::tracking
