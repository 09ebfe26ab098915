#pragma once

#include <cstdint>
#include <filesystem>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "moe/base/json.h"

namespace moe::sweep {

/// Optuna's numbers.
enum class TrialState { running = 0, complete = 1, pruned = 2, failed = 3, waiting = 4 };

std::string_view state_name(TrialState state);
inline bool is_finished(TrialState state) {
  return state == TrialState::complete || state == TrialState::pruned ||
         state == TrialState::failed;
}

/// The whole number under `key`, from 0 to 2^53; nullopt: there is none.
std::optional<std::int64_t> whole_in(const Json& object, const char* key);

/// A parameter as the journal has it.
struct StoredParameter {
  double value = 0;          // the number, or the index of the choice
  std::string distribution;  // Optuna's JSON text
};

/// One trial as the journal tells it.
struct Trial {
  std::int64_t id = 0;      // in the journal, over all of its studies
  std::int64_t number = 0;  // in the study: the run is DIR/trials/<number>
  TrialState state = TrialState::running;
  std::optional<double> value;
  std::map<std::string, StoredParameter> parameters;
  std::map<std::int64_t, double> reported;  // step to value of the objective
  Json user_attributes = Json::object(), system_attributes = Json::object();
  std::string started, ended;  // UTC

  /// The attribute, or null. System attributes are ours and Optuna's, user attributes for people.
  Json system(const char* key) const;
  Json user(const char* key) const;
};

/// What a journal says about one study. Reads lines one after another.
class Study {
 public:
  explicit Study(std::string name) : name_(std::move(name)) {}

  bool exists() const { return exists_; }
  const std::string& name() const { return name_; }
  std::int64_t id() const { return id_; }  // in the journal; -1 where there is none
  const std::vector<Trial>& trials() const { return trials_; }
  /// A trial by its id; null when the study has none such.
  const Trial* find(std::int64_t id) const;
  /// Applies one operation of Optuna's journal storage. Operations on what does not exist, and on
  /// finished trials, do nothing, as in Optuna.
  /// False: it is no operation that this version knows.
  bool apply(const Json& line);
  /// Stands for the creation of a trial that can not be read, so that the next ones keep their
  /// numbers: `study_id` -1 is not known, and taken for this study's.
  void apply_lost_trial(std::int64_t study_id);

 private:
  void create_study(const Json& line);
  void forget();
  void create_trial(const Json& line);
  void update(Trial& trial, std::int64_t operation, const Json& line);

  std::string name_;
  bool exists_ = false;
  std::int64_t id_ = -1, studies_ = 0, all_trials_ = 0;
  std::vector<Trial> trials_;
  std::map<std::int64_t, std::size_t> by_id_;
};

/// What a reader does about lines that it can not read.
enum class Damage { refused, passed_over };

/// Lines of a journal that a reader went past.
struct PassedOverLines {
  std::int64_t count = 0, first = 0;  // the first one's number, from 1
  std::string why;                    // of the first

  void add(std::int64_t line, const std::string& reason);
};

/// Follows a journal file that others write: each refresh reads what is new, whole lines only.
class JournalReader {
 public:
  JournalReader(std::filesystem::path path, std::string study, Damage damage);

  const std::filesystem::path& path() const { return path_; }
  const Study& study() const { return study_; }
  /// Throws ResourceError naming the line when it is damaged before its end (where damage is
  /// refused), or was shortened.
  void refresh();
  /// Operations that this version does not know, of a newer Optuna; and, where damage is passed
  /// over, damaged lines.
  const PassedOverLines& passed_over() const { return passed_over_; }
  /// Bytes of whole lines read.
  std::uint64_t offset() const { return offset_; }

 private:
  void read_line(const std::string& line);

  std::filesystem::path path_;
  Study study_;
  Damage damage_;
  PassedOverLines passed_over_;
  std::uint64_t offset_ = 0;
  std::int64_t line_ = 0;
};

}  // namespace moe::sweep
