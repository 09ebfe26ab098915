#include <stdexcept>

#include "moe/optim/optim.h"

namespace moe {

namespace {

const GroupConfig& config_of(const GroupsConfig& groups, ParameterGroup group) {
  switch (group) {
    case ParameterGroup::embedding:
      return groups.embedding;
    case ParameterGroup::head:
      return groups.head;
    case ParameterGroup::router:
      return groups.router;
    case ParameterGroup::norm:
      return groups.norm;
    case ParameterGroup::matrix:
      return groups.matrix;
    case ParameterGroup::expert:
      return groups.expert;
    case ParameterGroup::table:
      return groups.table;
  }
  throw std::logic_error("no such group of parameters");
}

bool are_updated_alike(const OptimizerGroup& a, const OptimizerGroup& b) {
  return a.learning_rate_scale == b.learning_rate_scale && a.weight_decay == b.weight_decay;
}

}  // namespace

std::vector<OptimizerGroup> optimizer_groups(const OptimConfig& config,
                                             const ParameterTable& table) {
  std::vector<OptimizerGroup> groups;
  std::int64_t at = 0;
  for (const auto& row : table.rows()) {
    if (!row.is_trained()) continue;  // these lie behind all others
    const auto& own = config_of(config.groups, row.group);
    const OptimizerGroup group{at, row.numel(), own.learning_rate_scale,
                               own.weight_decay.value_or(config.weight_decay)};
    at += group.count;
    if (!groups.empty() && are_updated_alike(groups.back(), group))
      groups.back().count += group.count;
    else
      groups.push_back(group);
  }
  return groups;
}

}  // namespace moe
