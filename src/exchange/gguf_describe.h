#pragma once

#include <string_view>

#include "exchange/gguf_values.h"
#include "moe/config/config.h"

namespace moe {

/// The model of a file that makemoe did not write, as far as its keys and the names of its tensors
/// tell; whether it is that one is for the caller to check. Throws CheckpointError.
ModelConfig config_of_foreign_gguf(const GgufHeader& header, const GgufValues& values);

}  // namespace moe
