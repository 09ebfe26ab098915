#pragma once

#include <string>
#include <vector>

#include "moe/sweep/summary.h"
#include "report/run_section.h"

namespace moe::report {

/// A sweep: how it stands, best so far, leaderboard, each parameter against the objective,
/// importance, curves, and every trial. Ids begin with `id`.
std::vector<Section> sweep_sections(const sweep::Sweep& sweep, const std::string& id);

}  // namespace moe::report
