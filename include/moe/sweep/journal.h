#pragma once

#include <filesystem>
#include <functional>
#include <map>
#include <string>
#include <vector>

#include "moe/base/file.h"
#include "moe/sweep/definition.h"
#include "moe/sweep/journal_lock.h"
#include "moe/sweep/study.h"

namespace moe::sweep {

/// Operations to be appended together, in Optuna's words.
class Operations {
 public:
  Operations(std::string worker, std::int64_t study) : worker_(std::move(worker)), study_(study) {}

  void create_study(const std::string& name, Direction direction);
  /// A running trial with all that belongs to it in one line: it is there whole, or not at all.
  void create_trial(const std::map<std::string, StoredParameter>& parameters, const Json& user,
                    const Json& system, TrialState state = TrialState::running);
  void set_parameter(std::int64_t trial, const std::string& key, const StoredParameter& parameter);
  void start_waiting(std::int64_t trial);
  void report(std::int64_t trial, std::int64_t step, double value);
  void set_user(std::int64_t trial, const std::string& key, const Json& value);
  void set_system(std::int64_t trial, const std::string& key, const Json& value);
  void finish(std::int64_t trial, TrialState state, std::optional<double> value);

  bool empty() const { return lines_.empty(); }
  /// The lines as they are appended.
  std::string text() const;

 private:
  void add(std::int64_t code, const Json& rest);
  std::string worker_;
  std::int64_t study_;  // its id in the journal
  std::vector<std::string> lines_;
};

/// DIR/journal.log, read and written (ADR 0021).
class Journal {
 public:
  Journal(std::filesystem::path path, std::string study, std::string worker, FileLayer& files,
          LongWait wait = {});

  const Study& study() const { return reader_.study(); }
  const PassedOverLines& passed_over() const { return reader_.passed_over(); }
  /// Reads on without the lock.
  void refresh() { reader_.refresh(); }
  /// Under the lock: cuts a torn last line, reads on, lets `decide` look and add operations,
  /// appends these in one write and reads them back. Nothing is written when it adds none. Throws
  /// ResourceError when the disk refuses; then nothing was appended. Interrupted when a signal
  /// comes in a long wait for the lock.
  void transact(const std::function<void(const Study&, Operations&)>& decide);

 private:
  JournalReader reader_;
  std::string worker_;
  FileLayer* files_;
  LongWait wait_;
};

}  // namespace moe::sweep
