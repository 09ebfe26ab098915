#pragma once

#include <cstdint>

#include "moe/config/config.h"
#include "moe/spec/model_spec.h"

namespace moe {

/// The model that a config describes, over a vocabulary. The one place where widths, rates and
/// scales are computed from keys.
ModelSpec spec_of(const ModelConfig& config, const Vocabulary& vocabulary);

}  // namespace moe
