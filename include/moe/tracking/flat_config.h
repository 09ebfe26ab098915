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
/// The same of a config as a file has it, whatever that holds.
FlatConfig flat_config(Json tree);

/// A value as a person writes it: a text without quotes, all else as JSON.
std::string plain_text(const Json& value);

}  // namespace moe::tracking
