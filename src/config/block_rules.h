#pragma once

#include <string>
#include <vector>

#include "moe/config/config.h"

namespace moe {

/// What is wrong with the keys of blocks, but for those of their mixtures.
void check_block(const ModelConfig& model, std::vector<std::string>& problems);

}  // namespace moe
