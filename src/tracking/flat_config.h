#pragma once

#include <string>
#include <utility>
#include <vector>

#include "moe/base/json.h"
#include "moe/config/config.h"

namespace moe::tracking {

/// Hyper-parameters: every key of a config, "model.moe.top_k", with its value, in their order.
using FlatConfig = std::vector<std::pair<std::string, Json>>;

/// Without the keys under "tracking", which say nothing about what is learned.
FlatConfig flat_config(const RunConfig& config);

/// "2026-11-24T00:20:00Z" as seconds since 1970; 0 for a text of another form.
double unix_seconds(const std::string& utc);

}  // namespace moe::tracking
