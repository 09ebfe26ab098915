#pragma once

#include <optional>
#include <string>
#include <vector>

#include "moe/config/config.h"
#include "tests/model/variants.h"

namespace moe::test {

/// A small shape at an edge of what a config allows, with a batch for it.
struct ModelCase {
  const char* name;
  std::int64_t embed, heads, layers, experts, top_k, block;
  std::int64_t batch, time;
  RouterKind router = RouterKind::noisy_topk;
  Gate gate = Gate::topk_softmax;
  double dropout = 0.2;
  std::optional<double> capacity_factor = std::nullopt;
  bool noise_in_eval = false;
  void (*set)(ModelConfig&) = nullptr;  // a Variant's
  bool has_given_choice = false;        // not by the size of the gates alone
};

/// A shape with parts of vectors and of panels, two layers.
inline ModelCase variant_case(const Variant& variant) {
  ModelCase out{variant.name, 12, 3, 2, 4, 2, 7, 3, 5};
  out.set = variant.set;
  return out;
}

inline std::vector<ModelCase> model_cases() {
  constexpr auto kNoisy = RouterKind::noisy_topk;
  std::vector<ModelCase> cases{
      // name, C, H, L, E, K, block, B, T
      {"plain", 16, 4, 2, 4, 2, 8, 3, 8},
      {"one_expert", 8, 2, 2, 1, 1, 6, 2, 6},
      {"all_experts", 8, 2, 2, 3, 3, 6, 2, 6},
      {"one_token", 8, 2, 2, 4, 2, 6, 1, 1},
      {"one_position", 8, 2, 2, 4, 2, 1, 3, 1},
      {"empty_experts", 8, 2, 2, 32, 2, 6, 1, 4},
      {"odd", 12, 3, 1, 5, 3, 7, 3, 5},
      {"one_head", 6, 1, 2, 4, 2, 5, 2, 5},
      {"heads_of_one", 4, 4, 3, 4, 2, 5, 2, 5},
      {"topk_router", 8, 2, 2, 4, 2, 6, 2, 6, RouterKind::topk},
      {"softmax_topk", 8, 2, 2, 4, 1, 6, 2, 6, kNoisy, Gate::softmax_topk},
      {"sigmoid", 8, 2, 2, 4, 2, 6, 2, 6, kNoisy, Gate::sigmoid},
      {"no_dropout", 8, 2, 2, 4, 2, 6, 2, 6, kNoisy, Gate::topk_softmax, 0},
      {"noise_in_eval", 8, 2, 2, 4, 2, 6, 2, 6, kNoisy, Gate::topk_softmax, 0.2, {}, true},
      {"capacity", 8, 2, 2, 4, 2, 6, 4, 6, kNoisy, Gate::topk_softmax, 0.1, 0.5}};
  for (const auto& variant : kVariants) cases.push_back(variant_case(variant));
  for (const auto& variant : kDense) cases.push_back(variant_case(variant));
  for (const auto& variant : kRoutings) {
    cases.push_back(variant_case(variant));
    cases.back().has_given_choice = true;
  }
  return cases;
}

inline ModelConfig config_of(const ModelCase& shape, Kernels kernels = Kernels::fast) {
  ModelConfig config;
  config.n_embed = shape.embed;
  config.n_head = shape.heads;
  config.n_layer = shape.layers;
  config.block_size = shape.block;
  config.dropout = shape.dropout;
  config.kernels = kernels;
  config.moe.num_experts = shape.experts;
  config.moe.top_k = shape.top_k;
  config.moe.router = shape.router;
  config.moe.gate = shape.gate;
  config.moe.capacity_factor = shape.capacity_factor;
  config.moe.noise_in_eval = shape.noise_in_eval;
  if (shape.set != nullptr) shape.set(config);
  return config;
}

inline std::string name_of(Kernels kernels) {
  return kernels == Kernels::fast ? "fast" : "reference";
}

}  // namespace moe::test
