#pragma once

#include <iterator>
#include <vector>

#include "moe/config/config.h"

namespace moe::test {

/// A way to differ from the published model. Each is a case of the tests that hold engines to one
/// another, to the dense oracle and to finite differences.
struct Variant {
  const char* name;
  void (*set)(ModelConfig&);
};

inline constexpr Variant kPublished{"published", [](ModelConfig&) {}};
inline constexpr Variant kVariants[] = {
    {"rms_norm", [](ModelConfig& config) { config.norm = NormKind::rms; }},
    {"gelu", [](ModelConfig& config) { config.moe.activation = Activation::gelu; }},
    {"silu", [](ModelConfig& config) { config.moe.activation = Activation::silu; }},
    {"relu2", [](ModelConfig& config) { config.moe.activation = Activation::relu2; }},
    {"swiglu", [](ModelConfig& config) { config.moe.activation = Activation::swiglu; }},
    {"narrow_experts",
     [](ModelConfig& config) {
       config.moe.activation = Activation::swiglu;
       config.moe.expert_width = 5;
     }},
    {"rotary", [](ModelConfig& config) { config.positions = Positions::rotary; }},
    {"no_positions", [](ModelConfig& config) { config.positions = Positions::none; }},
    {"qk_norm",
     [](ModelConfig& config) {
       config.qk_norm = QkNorm::head;
       config.qk_gain = 2;
     }},
    {"rotary_qk_norm",
     [](ModelConfig& config) {
       config.positions = Positions::rotary;
       config.rotary_base = 100;
       config.qk_norm = QkNorm::head;
     }},
    {"dropouts",
     [](ModelConfig& config) {
       config.dropouts = {.embedding = 0.3, .attention = 0, .residual = 0.4, .expert = {}};
     }},
    {"no_bias", [](ModelConfig& config) { config.bias = false; }},
    {"tied", [](ModelConfig& config) { config.tied = true; }},
    {"all_variants", [](ModelConfig& config) {
       config.norm = NormKind::rms;
       config.moe.activation = Activation::gelu;
       config.bias = false;
       config.tied = true;
     }}};

/// The published model, then all variants.
inline std::vector<Variant> all_models() {
  std::vector<Variant> all{kPublished};
  all.insert(all.end(), std::begin(kVariants), std::end(kVariants));
  return all;
}

}  // namespace moe::test
