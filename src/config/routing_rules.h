#pragma once

#include <string>
#include <vector>

#include "moe/config/config.h"

namespace moe {

/// The rules between the keys that say how tokens are routed. Adds what is wrong.
void check_routing(const ModelConfig& model, std::vector<std::string>& problems);

}  // namespace moe
