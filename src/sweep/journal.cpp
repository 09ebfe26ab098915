#include "moe/sweep/journal.h"

#include "moe/base/system.h"
#include "moe/base/text.h"

namespace moe::sweep {

namespace {

/// The form that Python's datetime reads in every version.
std::string now() {
  auto text = utc_now();
  text.pop_back();  // Z
  return text + ".000000+00:00";
}

}  // namespace

void Operations::add(std::int64_t code, const Json& rest) {
  Json line = {{"op_code", code}, {"worker_id", worker_}};
  line.update(rest);
  lines_.push_back(json_text(line));
}

void Operations::create_study(const std::string& name, Direction direction) {
  const int code = direction == Direction::minimize ? 1 : 2;
  add(0, {{"study_name", name}, {"directions", Json::array({code})}});
}

void Operations::create_trial(const std::map<std::string, StoredParameter>& parameters,
                              const Json& user, const Json& system, TrialState state) {
  Json values = Json::object(), distributions = Json::object();
  for (const auto& [key, parameter] : parameters) {
    values[key] = parameter.value;
    distributions[key] = parameter.distribution;
  }
  add(4, {{"study_id", study_},
          {"datetime_start", state == TrialState::waiting ? Json(nullptr) : Json(now())},
          {"state", static_cast<int>(state)},
          {"value", nullptr},
          {"values", nullptr},
          {"distributions", distributions},
          {"params", values},
          {"user_attrs", user},
          {"system_attrs", system},
          {"intermediate_values", Json::object()}});
}

void Operations::set_parameter(std::int64_t trial, const std::string& key,
                               const StoredParameter& parameter) {
  add(5, {{"trial_id", trial},
          {"param_name", key},
          {"param_value_internal", parameter.value},
          {"distribution", parameter.distribution}});
}

void Operations::start_waiting(std::int64_t trial) {
  add(6, {{"trial_id", trial},
          {"state", static_cast<int>(TrialState::running)},
          {"values", nullptr},
          {"datetime_start", now()}});
}

void Operations::report(std::int64_t trial, std::int64_t step, double value) {
  add(7, {{"trial_id", trial}, {"step", step}, {"intermediate_value", value}});
}

void Operations::set_user(std::int64_t trial, const std::string& key, const Json& value) {
  add(8, {{"trial_id", trial}, {"user_attr", {{key, value}}}});
}

void Operations::set_system(std::int64_t trial, const std::string& key, const Json& value) {
  add(9, {{"trial_id", trial}, {"system_attr", {{key, value}}}});
}

void Operations::finish(std::int64_t trial, TrialState state, std::optional<double> value) {
  add(6, {{"trial_id", trial},
          {"state", static_cast<int>(state)},
          {"values", value ? Json::array({*value}) : Json(nullptr)},
          {"datetime_complete", now()}});
}

std::string Operations::text() const {
  std::string out;
  for (const auto& line : lines_) out += line + "\n";
  return out;
}

Journal::Journal(fs::path path, std::string study, std::string worker, FileLayer& files,
                 LongWait wait)
    : reader_(std::move(path), std::move(study), Damage::refused),
      worker_(std::move(worker)),
      files_(&files),
      wait_(std::move(wait)) {}

void Journal::transact(const std::function<void(const Study&, Operations&)>& decide) {
  while (true) {
    const JournalLock lock(reader_.path(), wait_);
    reader_.refresh();
    std::error_code absent;
    const auto size = fs::file_size(reader_.path(), absent);
    if (!absent && size > reader_.offset()) files_->truncate(reader_.path(), reader_.offset());
    Operations operations(worker_, study().id());
    decide(study(), operations);
    if (operations.empty()) return;
    if (!lock.is_mine()) continue;  // stopped for so long that it was taken over: decide anew
    files_->append(reader_.path(), operations.text());
    reader_.refresh();
    return;
  }
}

}  // namespace moe::sweep
