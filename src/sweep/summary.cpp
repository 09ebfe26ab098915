#include "moe/sweep/summary.h"

#include <algorithm>
#include <map>

#include "moe/base/text.h"
#include "moe/sweep/identity.h"
#include "moe/sweep/queue.h"

namespace moe::sweep {

fs::path trial_folder(const fs::path& dir, std::int64_t number) {
  constexpr std::size_t kDigits = 5;
  auto digits = cat(number);
  if (digits.size() < kDigits) digits.insert(0, kDigits - digits.size(), '0');
  return dir / "trials" / digits;
}

Sweep read_sweep(const fs::path& dir) {
  auto definition = read_definition(dir);
  JournalReader reader(dir / "journal.log", definition.name, Damage::passed_over);
  reader.refresh();
  return {dir, std::move(definition), reader.study(), reader.passed_over()};
}

std::string passed_over_text(const fs::path& dir, const PassedOverLines& passed_over) {
  if (passed_over.count == 0) return "";
  return cat((dir / "journal.log").string(), ": ", passed_over.count,
             passed_over.count == 1 ? " entry is" : " entries are", " passed over, first entry ",
             passed_over.first, " (", passed_over.why, "); what follows is without what they said");
}

std::set<std::int64_t> superseded(const Study& study) {
  std::set<std::int64_t> numbers;
  for (const auto& trial : study.trials()) {
    const auto history = trial.system(kRetryHistory);
    if (!history.is_array()) continue;
    for (const auto& number : history)
      if (number.is_number_integer()) numbers.insert(number.get<std::int64_t>());
  }
  return numbers;
}

TrialState present_state(const fs::path& dir, const Trial& trial) {
  const auto claim = trial.system(kClaim);
  if (trial.state != TrialState::running || !claim.is_object()) return trial.state;
  const auto worker = Identity::from_json(claim.value("worker", Json()));
  if (!worker || !worker->may_live()) return TrialState::waiting;
  if (worker->domain == Identity::mine().domain) return trial.state;
  // On another machine, or in another container: only the run's lock tells, once there is one.
  const auto lock = trial_folder(dir, trial.number) / ".lock";
  std::error_code ignored;
  return fs::exists(lock, ignored) && !FileLock::is_held(lock) ? TrialState::waiting : trial.state;
}

TrialCounts counts_of(const Definition& definition, const Study& study, const fs::path& dir) {
  TrialCounts counts;
  const auto repeated = superseded(study);
  std::int64_t added = 0;
  for (const auto& trial : study.trials()) {
    if (trial.state == TrialState::failed && repeated.contains(trial.number)) continue;
    added += proposal_of(trial) ? 0 : 1;
    switch (present_state(dir, trial)) {
      case TrialState::complete:
        ++counts.complete;
        break;
      case TrialState::pruned:
        ++counts.pruned;
        break;
      case TrialState::failed:
        ++counts.failed;
        break;
      case TrialState::running:
        ++counts.running;
        break;
      case TrialState::waiting:
        ++counts.waiting;
        break;
    }
  }
  counts.total = definition.trials() + added;
  return counts;
}

std::vector<Standing> leaderboard(const Definition& definition, const Study& study) {
  const auto seeds = definition.settings.seeds;
  std::map<std::int64_t, Standing> points;  // those of Python's trials under negative keys
  for (const auto& trial : study.trials()) {
    if (trial.state != TrialState::complete || !trial.value || trial.system(kClaim).is_null())
      continue;
    const auto proposal = proposal_of(trial);
    auto& point = points[proposal ? *proposal / seeds : -1 - trial.number];
    point.complete.push_back(&trial);
    point.value += *trial.value;
    if (point.best == nullptr || definition.better(*trial.value, *point.best->value))
      point.best = &trial;
  }
  std::vector<Standing> out;
  for (auto& [key, point] : points) {
    point.value /= static_cast<double>(point.complete.size());
    out.push_back(std::move(point));
  }
  const auto is_whole = [&](const Standing& point) {
    return !proposal_of(*point.best) || static_cast<std::int64_t>(point.complete.size()) == seeds;
  };
  std::stable_sort(out.begin(), out.end(), [&](const Standing& a, const Standing& b) {
    if (is_whole(a) != is_whole(b)) return is_whole(a);
    return definition.better(a.value, b.value);
  });
  return out;
}

namespace {

Json reported_json(const Trial& trial) {
  Json out = Json::array();
  for (const auto& [step, value] : trial.reported) out.push_back(Json::array({step, value}));
  return out;
}

std::string csv_field(const std::string& text) {
  if (text.find_first_of(",\"\r\n") == std::string::npos) return text;
  std::string out = "\"";
  for (const char c : text) {
    if (c == '"') out += '"';
    out += c;
  }
  return out + "\"";
}

/// A text as it is, nothing for null, anything else as JSON.
std::string csv_value(const Json& value) {
  if (value.is_null()) return "";
  return csv_field(value.is_string() ? value.get<std::string>() : json_text(value));
}

}  // namespace

Json trial_json(const Sweep& sweep, const Trial& trial) {
  const auto claim = trial.system(kClaim);
  return {
      {"number", trial.number},
      {"state", std::string(state_name(present_state(sweep.dir, trial)))},
      {"value", trial.value ? Json(*trial.value) : Json(nullptr)},
      {"seed", trial.user("seed")},
      {"attempt", claim.is_object() ? claim.value("attempt", Json()) : Json(nullptr)},
      {"last_step", trial.reported.empty() ? Json(nullptr) : Json(trial.reported.rbegin()->first)},
      {"started", trial.started},
      {"ended", trial.ended},
      {"reason", trial.user("reason")},
      {"repeats", trial.system(kFailedTrial)},
      {"values", values_of(sweep.definition.space, point_of(sweep.definition.space, trial))},
      {"run", trial_folder(sweep.dir, trial.number).string()}};
}

Json sweep_json(const Sweep& sweep) {
  const auto counts = counts_of(sweep.definition, sweep.study, sweep.dir);
  const auto board = leaderboard(sweep.definition, sweep.study);
  const auto& objective = sweep.definition.settings.objective;
  Json out = {{"sweep", sweep.dir.string()},
              {"name", sweep.definition.name},
              {"metric", objective.metric},
              {"direction", sweep.definition.minimizes() ? "minimize" : "maximize"},
              {"total", counts.total},
              {"complete", counts.complete},
              {"pruned", counts.pruned},
              {"failed", counts.failed},
              {"running", counts.running},
              {"waiting", counts.waiting},
              {"best", nullptr},
              {"trials", Json::array()}};
  if (!board.empty()) {
    out["best"] = trial_json(sweep, *board.front().best);
    out["best"]["mean_value"] = board.front().value;
  }
  for (const auto& trial : sweep.study.trials()) {
    out["trials"].push_back(trial_json(sweep, trial));
    out["trials"].back()["reported"] = reported_json(trial);
  }
  return out;
}

std::string sweep_csv(const Sweep& sweep) {
  const std::vector<std::string> columns{"number",    "state",   "value", "seed",   "attempt",
                                         "last_step", "started", "ended", "reason", "repeats"};
  std::string out = join(columns, ",");
  for (const auto& parameter : sweep.definition.space.parameters())
    out += cat(",", csv_field(parameter.key));
  out += "\r\n";
  for (const auto& trial : sweep.study.trials()) {
    const auto json = trial_json(sweep, trial);
    std::vector<std::string> fields;
    fields.reserve(columns.size() + sweep.definition.space.parameters().size());
    for (const auto& column : columns) fields.push_back(csv_value(json[column]));
    for (const auto& parameter : sweep.definition.space.parameters())
      fields.push_back(csv_value(json["values"].value(parameter.key, Json())));
    out += cat(join(fields, ","), "\r\n");
  }
  return out;
}

}  // namespace moe::sweep
