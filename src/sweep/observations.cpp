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
