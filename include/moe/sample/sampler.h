#pragma once

#include <cstdint>
#include <span>

namespace moe {

/// How a next token is drawn from logits; the defaults are the published sampler.
struct SamplerOptions {
  double temperature = 1;         // 0 is argmax
  std::int64_t top_k = 0;         // 0: all; beyond the vocabulary means all
  double top_p = 1;               // nucleus: smallest set with at least this mass
  double min_p = 0;               // at least this fraction of the largest probability
  double repetition_penalty = 1;  // Keskar et al. 2019: seen tokens' logits / p or * p
};

/// Throws ConfigError naming the first option outside its range (NaN included).
void check_sampler_options(const SamplerOptions& options);

/// The next token from logits (V, in any order of magnitude), the tokens so far, and one uniform
/// draw u in [0, 1). Throws NumericsError when a logit is not finite.
std::int32_t choose_token(std::span<const float> logits, std::span<const std::int32_t> seen,
                          const SamplerOptions& options, double u);

}  // namespace moe
