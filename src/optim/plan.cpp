#include <ATen/Parallel.h>

#include <algorithm>
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

void add_to_adamw(std::vector<OptimizerGroup>& groups, const OptimizerGroup& group) {
  if (!groups.empty()) {
    auto& last = groups.back();
    if (last.begin + last.count == group.begin && last.weight_decay == group.weight_decay &&
        last.learning_rate_scale == group.learning_rate_scale) {
      last.count += group.count;
      return;
    }
  }
  groups.push_back(group);
}

bool is_table(const ParameterRow& row) {
  return row.group == ParameterGroup::embedding || row.group == ParameterGroup::table;
}

void add_to_averaged(std::vector<Stretch>& averaged, const Stretch& stretch) {
  if (!averaged.empty() && averaged.back().begin + averaged.back().count == stretch.begin)
    averaged.back().count += stretch.count;
  else
    averaged.push_back(stretch);
}

bool is_moved_by_muon(const ParameterRow& row) {
  return row.role == Role::linear_weight &&
         (row.group == ParameterGroup::matrix || row.group == ParameterGroup::expert);
}

/// Calls visit(group, count of its matrices) for what Muon moves.
template <class Visit>
void for_each_stack(const OptimConfig& config, const ParameterTable& table, const Visit& visit) {
  for (const auto& group : plan_updates(config, table).muon)
    visit(group, group.count / (group.rows * group.columns));
}

}  // namespace

OptimizerPlan plan_updates(const OptimConfig& config, const ParameterTable& table) {
  OptimizerPlan plan;
  std::int64_t at = 0, expert_stacks = 0;
  for (const auto& row : table.rows()) {
    if (!row.is_trained()) continue;  // these lie behind all others
    const auto& own = config_of(config.groups, row.group);
    const Stretch stretch{at, row.numel()};
    at += stretch.count;
    if (config.average.start && !is_table(row)) add_to_averaged(plan.averaged, stretch);
    if (config.kind == OptimizerKind::muon && is_moved_by_muon(row)) {
      const bool is_expert = row.group == ParameterGroup::expert;
      const auto every = is_expert ? config.muon.every : 1;
      const auto turn = is_expert ? expert_stacks++ % every : 0;
      const auto rows = row.shape[row.shape.size() - 2], columns = row.shape.back();
      plan.muon.push_back({stretch, rows, columns, own.learning_rate_scale,
                           own.weight_decay.value_or(config.muon.weight_decay), every, turn});
    } else {
      add_to_adamw(plan.adamw, {stretch, own.learning_rate_scale,
                                own.weight_decay.value_or(config.weight_decay)});
    }
  }
  return plan;
}

std::int64_t count_optimizer_state(const OptimConfig& config, const ParameterTable& table) {
  const auto plan = plan_updates(config, table);
  std::int64_t count = 0;
  for (const auto& group : plan.adamw) count += 2 * group.count;
  for (const auto& group : plan.muon) count += group.count;
  for (const auto& stretch : plan.averaged) count += stretch.count;
  return count;
}

std::int64_t count_optimizer_scratch(const OptimConfig& config, const ParameterTable& table) {
  std::int64_t most = 0;
  for_each_stack(config, table, [&](const MuonGroup& group, std::int64_t) {
    most = std::max(most, kernels::orthogonalise_scratch_bytes(group.rows, group.columns));
  });
  return most * at::get_num_threads();
}

double count_muon_flops(const OptimConfig& config, const ParameterTable& table) {
  const auto steps = static_cast<std::int64_t>(newton_schulz_of(config.muon).steps.size());
  double flops = 0;
  for_each_stack(config, table, [&](const MuonGroup& group, std::int64_t matrices) {
    flops += static_cast<double>(matrices) / static_cast<double>(group.every) *
             kernels::count_orthogonalise_flops(group.rows, group.columns, steps);
  });
  return flops;
}

kernels::NewtonSchulz newton_schulz_of(const MuonConfig& config) {
  return config.coefficients == MuonCoefficients::quintic ? kernels::quintic()
                                                          : kernels::polar_express();
}

}  // namespace moe
