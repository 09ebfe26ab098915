#pragma once

#include <cstdint>

#include "moe/spec/model_spec.h"

namespace moe::kernels {

/// The most that the fused layers take of their workspace at once, in float and with libtorch's
/// number of threads [bytes]. Counted by the layers' own layout of memory, without taking any.
/// - training: one forward and backward of B windows of T tokens;
/// - evaluation: one forward, without logits.
std::int64_t planned_training_memory(const ModelSpec& spec, std::int64_t windows,
                                     std::int64_t time);
std::int64_t planned_evaluation_memory(const ModelSpec& spec, std::int64_t windows,
                                       std::int64_t time);

}  // namespace moe::kernels
