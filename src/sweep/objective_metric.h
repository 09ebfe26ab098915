#pragma once

#include <string>
#include <vector>

#include "moe/sweep/definition.h"

namespace moe::sweep {

/// Adds to `problems` when objective.metric is no number that every trial of the sweep writes into
/// its metrics.jsonl, by the table of docs/metrics.md.
void check_metric(const Definition& definition, std::vector<std::string>& problems);

}  // namespace moe::sweep
