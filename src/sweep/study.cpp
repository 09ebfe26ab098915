#include "moe/sweep/study.h"

#include <array>
#include <cerrno>
#include <charconv>
#include <cmath>
#include <cstring>
#include <fstream>

#include "moe/base/error.h"
#include "moe/base/path.h"
#include "moe/base/program.h"
#include "moe/base/text.h"

namespace moe::sweep {

namespace fs = std::filesystem;

namespace {

// Optuna's operations.
enum Operation : std::int64_t {
  kCreateStudy = 0,
  kDeleteStudy = 1,
  kSetStudyUser = 2,
  kSetStudySystem = 3,
  kCreateTrial = 4,
  kSetParameter = 5,
  kSetState = 6,
  kReport = 7,
  kSetUser = 8,
  kSetSystem = 9
};

Json member(const Json& object, const char* key) {
  const auto found = object.find(key);
  return found == object.end() ? Json() : *found;
}

std::int64_t whole(const Json& object, const char* key) {
  return whole_in(object, key).value_or(-1);
}

std::string text(const Json& object, const char* key) {
  const auto value = member(object, key);
  return value.is_string() ? value.get<std::string>() : "";
}

/// Sums of these stay finite, whatever a damaged journal holds.
std::optional<double> number(const Json& value) {
  constexpr double kLargest = 1e300;
  if (!value.is_number() || std::abs(value.get<double>()) > kLargest) return std::nullopt;
  return value.get<double>();
}

/// The one objective, under "value" or as the first of "values".
std::optional<double> value_in(const Json& line) {
  const auto values = member(line, "values");
  if (values.is_array() && !values.empty()) return number(values[0]);
  return number(member(line, "value"));
}

TrialState state_of(const Json& line, TrialState otherwise) {
  const auto code = whole(line, "state");
  return code >= 0 && code <= 4 ? static_cast<TrialState>(code) : otherwise;
}

void merge(Json& attributes, const Json& more) {
  if (more.is_object()) attributes.update(more);
}

}  // namespace

std::optional<std::int64_t> whole_in(const Json& object, const char* key) {
  constexpr std::int64_t kLargest = std::int64_t{1} << 53U;  // Python's and ours agree up to there
  const auto value = object.is_object() ? member(object, key) : Json();
  if (!value.is_number_integer()) return std::nullopt;
  const auto number = value.get<std::int64_t>();
  return number >= 0 && number <= kLargest ? std::optional(number) : std::nullopt;
}

std::string_view state_name(TrialState state) {
  constexpr std::array<std::string_view, 5> names{"running", "complete", "pruned", "failed",
                                                  "waiting"};
  return names.at(static_cast<std::size_t>(state));
}

Json Trial::system(const char* key) const { return member(system_attributes, key); }
Json Trial::user(const char* key) const { return member(user_attributes, key); }

const Trial* Study::find(std::int64_t id) const {
  const auto found = by_id_.find(id);
  return found == by_id_.end() ? nullptr : &trials_[found->second];
}

bool Study::apply(const Json& line) {
  if (!line.is_object()) return false;
  const auto operation = whole(line, "op_code");
  if (operation == kCreateStudy) {
    create_study(line);
  } else if (operation == kDeleteStudy) {
    if (exists_ && whole(line, "study_id") == id_) forget();
  } else if (operation == kCreateTrial) {
    create_trial(line);
  } else if (const auto found = by_id_.find(whole(line, "trial_id")); found != by_id_.end()) {
    auto& trial = trials_[found->second];
    if (!is_finished(trial.state)) update(trial, operation, line);
  }
  return operation >= kCreateStudy && operation <= kSetSystem;
}

void Study::apply_lost_trial(std::int64_t study_id) {
  create_trial({{"study_id", study_id < 0 ? id_ : study_id}});
}

/// Ids go on: Optuna never gives one twice.
void Study::forget() {
  Study gone(name_);
  gone.studies_ = studies_;
  gone.all_trials_ = all_trials_;
  *this = std::move(gone);
}

void Study::create_study(const Json& line) {
  const bool ours = text(line, "study_name") == name_;
  if (ours && exists_) return;  // Optuna ignores the second of a name, too
  if (ours) id_ = studies_;
  exists_ = exists_ || ours;
  ++studies_;
}

void Study::create_trial(const Json& line) {
  const auto id = all_trials_++;
  if (!exists_ || whole(line, "study_id") != id_) return;
  Trial trial;
  trial.id = id;
  trial.number = static_cast<std::int64_t>(trials_.size());
  trial.state = state_of(line, TrialState::running);
  trial.value = value_in(line);
  trial.started = text(line, "datetime_start");
  trial.ended = text(line, "datetime_complete");
  merge(trial.user_attributes, member(line, "user_attrs"));
  merge(trial.system_attributes, member(line, "system_attrs"));
  const auto parameters = member(line, "params"), distributions = member(line, "distributions");
  if (parameters.is_object() && distributions.is_object())
    for (const auto& item : parameters.items())
      if (const auto value = number(item.value()))
        trial.parameters[item.key()] = {*value, text(distributions, item.key().c_str())};
  by_id_[id] = trials_.size();
  trials_.push_back(std::move(trial));
}

void Study::update(Trial& trial, std::int64_t operation, const Json& line) {
  if (operation == kSetParameter) {
    if (const auto value = number(member(line, "param_value_internal")))
      trial.parameters[text(line, "param_name")] = {*value, text(line, "distribution")};
  } else if (operation == kSetState) {
    trial.state = state_of(line, trial.state);
    if (const auto value = value_in(line)) trial.value = value;
    if (const auto ended = text(line, "datetime_complete"); !ended.empty()) trial.ended = ended;
    if (const auto started = text(line, "datetime_start"); !started.empty())
      trial.started = started;
  } else if (operation == kReport) {
    const auto step = whole_in(line, "step");
    if (const auto value = number(member(line, "intermediate_value")); value && step)
      trial.reported[*step] = *value;
  } else if (operation == kSetUser) {
    merge(trial.user_attributes, member(line, "user_attr"));
  } else if (operation == kSetSystem) {
    merge(trial.system_attributes, member(line, "system_attr"));
  }
}

namespace {

/// Python writes NaN and Infinity, which are no JSON, as bare words: they become null.
std::string without_nonfinite(std::string line) {
  for (const std::string_view word : {"-Infinity", "Infinity", "NaN"}) {
    for (std::size_t at = 0; (at = line.find(word, at)) != std::string::npos;) {
      const bool is_value =
          at > 0 && std::string_view(":,[ ").find(line[at - 1]) != std::string_view::npos;
      if (is_value) line.replace(at, word.size(), "null");
      at += is_value ? 4 : word.size();
    }
  }
  return line;
}

Json parse_line(const std::string& line, const std::string& where) {
  try {
    return parse_json(line, where, ErrorKind::resource);
  } catch (const Error&) {
    return parse_json(without_nonfinite(line), where, ErrorKind::resource);
  }
}

std::string bytes_from(const fs::path& path, std::uint64_t offset) {
  std::error_code error;
  const auto size = fs::file_size(path, error);  // of a file alone: a folder or a pipe is refused
  std::ifstream file(path, std::ios::binary);
  if (error || !file)
    throw ResourceError(cat(path.string(), ": cannot be read: ",
                            error ? error.message() : std::strerror(errno), "; check the path"));
  if (size < offset)
    throw ResourceError(cat(path.string(), ": is shorter than it was, ", size, " bytes instead of ",
                            offset, "; put the journal back, or start another sweep"));
  std::string out(size - offset, '\0');
  file.seekg(static_cast<std::streamoff>(offset));
  file.read(out.data(), static_cast<std::streamsize>(out.size()));
  out.resize(static_cast<std::size_t>(std::max<std::streamsize>(0, file.gcount())));
  return out;
}

}  // namespace

namespace {

/// The whole number that stands after `"key":` in a line that is no JSON; -1: there is none.
std::int64_t number_after(std::string_view line, std::string_view key) {
  const auto at = line.find(cat("\"", key, "\":"));
  if (at == std::string_view::npos) return -1;
  line.remove_prefix(at + key.size() + 3);
  while (line.starts_with(' ')) line.remove_prefix(1);
  std::int64_t number = -1;
  const auto [end, error] = std::from_chars(line.data(), line.data() + line.size(), number);
  return error == std::errc() && end != line.data() ? number : -1;
}

}  // namespace

void PassedOverLines::add(std::int64_t line, const std::string& reason) {
  if (count++ > 0) return;
  first = line;
  why = reason;
}

JournalReader::JournalReader(fs::path path, std::string study, Damage damage)
    : path_(std::move(path)), study_(std::move(study)), damage_(damage) {}

void JournalReader::read_line(const std::string& line) {
  const auto where = cat(path_.string(), ": entry ", line_);
  try {
    if (!study_.apply(parse_line(line, where)))
      passed_over_.add(line_, "an operation that this version does not know");
  } catch (const Error& error) {
    if (damage_ == Damage::refused)
      throw ResourceError(cat(error.what(), "; or put the journal back from a copy: ",
                              command_line({"sweep", "status"}),
                              ", best and export show what can still be read"));
    passed_over_.add(line_, "it is damaged");
    if (number_after(line, "op_code") == kCreateTrial)
      study_.apply_lost_trial(number_after(line, "study_id"));
  }
}

void JournalReader::refresh() {
  if (offset_ == 0 && !is_there(path_, ErrorKind::resource)) return;
  const auto bytes = bytes_from(path_, offset_);
  std::size_t begin = 0;
  for (auto end = bytes.find('\n'); end != std::string::npos; end = bytes.find('\n', begin)) {
    ++line_;
    const auto line = bytes.substr(begin, end - begin);
    if (!line.empty()) read_line(line);
    begin = end + 1;
    offset_ += line.size() + 1;
  }
}

}  // namespace moe::sweep
