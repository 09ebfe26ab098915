#pragma once

#include "moe/config/config.h"

namespace moe {

/// A model's config as its twin has it: without router noise, which is for training.
ModelConfig without_noise(ModelConfig model);

}  // namespace moe
