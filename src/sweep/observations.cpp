#include "moe/base/text.h"
#include "moe/sweep/queue.h"

namespace moe::sweep {

std::optional<std::int64_t> proposal_of(const Trial& trial) {
  return whole_in(trial.system_attributes, kProposal);
}

Point point_of(const Space& space, const Trial& trial) {
  Point point;
  for (const auto& parameter : space.parameters()) {
    const auto stored = trial.parameters.find(parameter.key);
    if (stored == trial.parameters.end() || !space.is_active(parameter, point)) continue;
    if (const auto value = parameter.internal_of(stored->second.value, stored->second.distribution))
      point[parameter.key] = *value;
  }
  return point;
}

namespace {

/// Values by key, as Optuna shows them.
std::map<std::string, Json> given_values(const Trial& trial) {
  std::map<std::string, Json> out;
  const auto fixed = trial.system(kFixedParams);
  if (fixed.is_object())
    for (const auto& item : fixed.items()) out[item.key()] = item.value();
  else if (!fixed.is_null())
    out[kFixedParams] = fixed;
  for (const auto& [key, stored] : trial.parameters)
    out[key] = optuna_value(stored.value, stored.distribution);
  return out;
}

/// Why a value that was given does not stand in `point`; "" when it does.
std::string reason_against(const Space& space, const Point& point, const std::string& key,
                           const Json& value) {
  const auto shown = cat(printable(key), ": ", printable(json_text(value), 60, Quotes::kept));
  const auto* parameter = space.find(key);
  if (parameter == nullptr) return cat(shown, " cannot be used: the space has no such key");
  if (!parameter->internal_of(value))
    return cat(shown, " is not in the space, which has ", parameter->range_text());
  return point.contains(key) ? "" : cat(shown, " cannot be used: the key's \"when\" does not hold");
}

}  // namespace

Point given_point(const Space& space, const Trial& trial) {
  Point point;
  for (const auto& [key, value] : given_values(trial))
    if (const auto* parameter = space.find(key))
      if (const auto internal = parameter->internal_of(value)) point[key] = *internal;
  return point;
}

std::string misfit(const Space& space, const Trial& trial, const Point& point) {
  std::vector<std::string> reasons;
  const auto given = given_values(trial);
  for (const auto& [key, value] : given)
    if (auto reason = reason_against(space, point, key, value); !reason.empty())
      reasons.push_back(std::move(reason));
  for (const auto& parameter : space.parameters())
    if (space.is_active(parameter, point) && !point.contains(parameter.key) &&
        !given.contains(parameter.key))
      reasons.push_back(cat(parameter.key, ": the trial has no value for it"));
  return join(reasons, "; ");
}

std::vector<Observation> observations(const Definition& definition, const Study& study) {
  struct Sum {
    double value = 0;
    int count = 0;
  };
  std::vector<Observation> out;
  std::vector<Sum> sums;
  std::map<std::int64_t, std::size_t> place_of_point;
  for (const auto& trial : study.trials()) {
    if (trial.state == TrialState::waiting) continue;
    auto place = out.size();
    if (const auto proposal = proposal_of(trial))
      place =
          place_of_point.try_emplace(*proposal / definition.settings.seeds, place).first->second;
    if (place == out.size()) {
      out.push_back({point_of(definition.space, trial), std::nullopt});
      sums.emplace_back();
    }
    if (trial.state != TrialState::complete || !trial.value) continue;
    sums[place].value += definition.minimizes() ? *trial.value : -*trial.value;
    ++sums[place].count;
    out[place].value = sums[place].value / sums[place].count;
  }
  return out;
}

}  // namespace moe::sweep
