#pragma once

#include <algorithm>
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
    {"short_conv", [](ModelConfig& config) { config.short_conv = 3; }},
    {"long_conv",  // over several panels of tokens where the context has them
     [](ModelConfig& config) {
       config.short_conv = config.block_size;
       config.positions = Positions::none;
     }},
    {"x0_shortcut", [](ModelConfig& config) { config.x0_shortcut = true; }},
    {"ngrams",
     [](ModelConfig& config) {
       config.ngram.orders = {2, 3};
       config.ngram.dropout = 0.3;
     }},
    {"value_residual", [](ModelConfig& config) { config.value_residual = config.n_layer > 1; }},
    {"all_skips",
     [](ModelConfig& config) {
       config.value_residual = config.n_layer > 1;
       config.x0_shortcut = true;
       config.ngram.orders = {4};
       config.positions = Positions::rotary;
       config.dropouts.embedding = 0.2;
     }},
    {"dropouts",
     [](ModelConfig& config) {
       config.dropouts = {.embedding = 0.3, .attention = 0, .residual = 0.4, .expert = {}};
     }},
    {"no_bias", [](ModelConfig& config) { config.bias = false; }},
    {"tied", [](ModelConfig& config) { config.tied = true; }},
    {"all_variants",
     [](ModelConfig& config) {
       config.norm = NormKind::rms;
       config.moe.activation = Activation::gelu;
       config.bias = false;
       config.tied = true;
       config.short_conv = 2;
     }},
    {"shared_experts", [](ModelConfig& config) { config.moe.shared_experts = 2; }},
    {"shared_gate", [](ModelConfig& config) {
       config.moe.activation = Activation::swiglu;
       config.moe.shared_experts = 3;
       config.moe.shared_gate = true;
     }}};

inline BalanceConfig switch_loss(double weight, BalanceScope scope = BalanceScope::batch) {
  return {.kind = BalanceKind::switch_loss, .weight = weight, .scope = scope};
}
inline BalanceConfig importance_load(double weight) {
  return {.kind = BalanceKind::importance_load, .weight = weight};
}
inline BalanceConfig loss_free(double rate = 1e-3) {
  return {.kind = BalanceKind::loss_free, .rate = rate};
}

/// Ways to route and to balance, which the dense oracle does not know. Weights are large, so that
/// a wrong gradient of a side loss shows beside the cross-entropy's.
inline const Variant kRoutings[] = {
    {"switch_batch", [](ModelConfig& config) { config.moe.balance = {switch_loss(0.7)}; }},
    {"switch_sequence",
     [](ModelConfig& config) { config.moe.balance = {switch_loss(0.7, BalanceScope::sequence)}; }},
    {"z_loss", [](ModelConfig& config) { config.moe.z_loss = 0.3; }},
    {"importance_load",
     [](ModelConfig& config) {
       config.moe.balance = {importance_load(0.4)};
       config.moe.num_experts = std::max(config.moe.num_experts, config.moe.top_k + 1);
     }},
    {"loss_free", [](ModelConfig& config) { config.moe.balance = {loss_free()}; }},
    {"all_losses",
     [](ModelConfig& config) {
       config.moe.balance = {switch_loss(0.7), switch_loss(0.5, BalanceScope::sequence),
                             importance_load(0.4)};
       config.moe.z_loss = 0.3;
       config.moe.num_experts = std::max(config.moe.num_experts, config.moe.top_k + 1);
     }},
    {"balanced_sigmoid",
     [](ModelConfig& config) {
       config.moe.gate = Gate::sigmoid;
       config.moe.gate_scale = 1.7;
       config.moe.balance = {switch_loss(0.7), switch_loss(0.5, BalanceScope::sequence),
                             loss_free()};
       config.moe.z_loss = 0.3;
     }},
    {"open_sigmoid",
     [](ModelConfig& config) {
       config.moe.gate = Gate::sigmoid;
       config.moe.gate_norm = false;
       config.moe.gate_scale = 0.6;
       config.moe.router = RouterKind::topk;
     }},
    {"balanced_softmax_topk",
     [](ModelConfig& config) {
       config.moe.gate = Gate::softmax_topk;
       config.moe.balance = {switch_loss(0.7), loss_free()};
     }},
    {"balanced_capacity",
     [](ModelConfig& config) {
       config.moe.capacity_factor = 0.6;
       config.moe.balance = {switch_loss(0.7), importance_load(0.4)};
       config.moe.num_experts = std::max(config.moe.num_experts, config.moe.top_k + 1);
     }},
    {"jitter",
     [](ModelConfig& config) {
       config.moe.jitter = 0.3;
       config.moe.z_loss = 0.3;
     }},
    {"hash_layer",
     [](ModelConfig& config) {
       config.moe.hash_layers = {config.n_layer - 1};
       config.moe.balance = {switch_loss(0.7)};
       config.moe.z_loss = 0.3;
     }},
    {"balanced_shared", [](ModelConfig& config) {
       config.short_conv = 2;
       config.moe.shared_experts = 2;
       config.moe.shared_gate = true;
       config.moe.jitter = 0.3;
       config.moe.capacity_factor = 0.6;
       config.moe.balance = {switch_loss(0.7), switch_loss(0.5, BalanceScope::sequence),
                             importance_load(0.4)};
       config.moe.z_loss = 0.3;
       config.moe.num_experts = std::max(config.moe.num_experts, config.moe.top_k + 1);
     }}};

/// Models some of whose layers have no router.
inline constexpr Variant kDense[] = {{"dense_model",
                                      [](ModelConfig& config) {
                                        config.moe.num_experts = 0;
                                        config.moe.shared_experts = 1;
                                      }},
                                     {"gated_dense_model",
                                      [](ModelConfig& config) {
                                        config.moe.num_experts = 0;
                                        config.moe.shared_experts = 2;
                                        config.moe.shared_gate = true;
                                        config.bias = false;
                                      }},
                                     {"dense_layer",
                                      [](ModelConfig& config) {
                                        config.moe.dense_layers = {0};
                                        config.moe.shared_experts = 1;
                                      }},
                                     {"dense_layer_of_a_width", [](ModelConfig& config) {
                                        config.moe.activation = Activation::swiglu;
                                        config.moe.dense_layers = {0};
                                        config.moe.dense_width = 21;
                                      }}};

/// The published model, then all variants.
inline std::vector<Variant> all_models() {
  std::vector<Variant> all{kPublished};
  all.insert(all.end(), std::begin(kVariants), std::end(kVariants));
  return all;
}

}  // namespace moe::test
