#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>

#include "moe/config/config.h"
#include "moe/model/language_model.h"

namespace moe {

/// Draws every weight by config.init, from the generator and in the order of the Python original:
/// after torch.manual_seed(seed), all modules constructed, then the Linear weights drawn again.
/// So a seed begins with the very weights that it gives in PyTorch. Drawn on the CPU for every
/// device.
void initialise(SparseMoELanguageModel& model, std::uint64_t seed);

/// Total parameters of a config, counted without building it; throws ConfigError on overflow.
std::int64_t count_parameters(const ModelConfig& config, const Vocabulary& vocabulary);
/// Those that one token's forward reads: rows of tables, chosen experts, everything else.
std::int64_t count_active_parameters(const ModelConfig& config, const Vocabulary& vocabulary);

/// Operations of the matrix products of one training step over `sequences` whole windows, forward
/// and backward, with the scores that causal attention needs [FLOP].
double count_step_flops(const ModelConfig& config, const Vocabulary& vocabulary,
                        std::int64_t sequences);

/// "auto", "cpu", "cuda" or "cuda:N". Throws ConfigError for another text and ResourceError with a
/// hint when the device is not there.
at::Device choose_device(const std::string& name);

}  // namespace moe
