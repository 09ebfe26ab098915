#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>

#include "moe/config/config.h"
#include "moe/model/language_model.h"

namespace moe {

/// Draws every weight from the stream "init" of `seed`, by config.init (MODEL.md section 2).
/// Same weights for the same seed on every device: drawn on the CPU.
void initialise(SparseMoELanguageModel& model, std::uint64_t seed);

/// Total parameters of a config, counted without building it; throws ConfigError on overflow.
std::int64_t count_parameters(const ModelConfig& config, std::int64_t vocab_size);
/// Total minus the experts that one token does not use.
std::int64_t count_active_parameters(const ModelConfig& config, std::int64_t vocab_size);

/// "auto", "cpu", "cuda" or "cuda:N". Throws ConfigError for another text and ResourceError with a
/// hint when the device is not there.
at::Device choose_device(const std::string& name);

}  // namespace moe
