#include "moe/config/spec_of.h"

#include <algorithm>
#include <cmath>
#include <utility>

namespace moe {

namespace {

constexpr std::int64_t kExpansion = 4;  // expert width over n_embed, as published
constexpr double kLayerNormEps = 1e-5, kRmsNormEps = 1e-6;  // PyTorch's default; Llama's

AttentionSpec attention_of(const ModelConfig& config) {
  const auto head_width = config.n_embed / config.n_head;
  const auto width =
      config.attention_scale == AttentionScale::n_embed ? config.n_embed : head_width;
  return {.heads = config.n_head,
          .head_width = head_width,
          .scale = 1 / std::sqrt(static_cast<double>(width)),
          .bias = config.bias,
          .qk_norm = config.qk_norm,
          .qk_gain = config.qk_gain,
          .rotary_base = config.positions == Positions::rotary ? std::optional(config.rotary_base)
                                                               : std::nullopt,
          .short_conv = config.short_conv};
}

/// A gated expert has three matrices instead of two: 2/3 of the width make it as large, rounded to
/// what a bf16 product and a quantised file can hold.
std::int64_t default_expert_width(const ModelConfig& config) {
  constexpr std::int64_t kMultiple = 16;
  const auto width = kExpansion * config.n_embed;
  if (!is_gated(config.moe.activation)) return width;
  return std::max(kMultiple, width * 2 / 3 / kMultiple * kMultiple);
}

BalanceSpec balance_of(const MoeConfig& moe) {
  BalanceSpec spec{.z_loss = moe.z_loss};
  for (const auto& element : moe.balance) {
    switch (element.kind) {
      case BalanceKind::none:
        break;
      case BalanceKind::switch_loss:
        (element.scope == BalanceScope::batch ? spec.switch_batch : spec.switch_sequence) =
            element.weight;
        break;
      case BalanceKind::importance_load:
        spec.importance_load = element.weight;
        break;
      case BalanceKind::loss_free:
        spec.bias_rate = element.rate;
        break;
    }
  }
  return spec;
}

FeedForwardSpec feed_forward_of(const ModelConfig& config) {
  const auto& moe = config.moe;
  return {.experts = moe.num_experts,
          .top_k = moe.top_k,
          .width = moe.expert_width.value_or(default_expert_width(config)),
          .router = moe.router,
          .gate = moe.gate,
          .activation = moe.activation,
          .noise_in_eval = moe.noise_in_eval,
          .capacity_factor = moe.capacity_factor,
          .bias = config.bias,
          .gate_norm = moe.gate_norm,
          .gate_scale = moe.gate_scale,
          .jitter = moe.jitter,
          .balance = balance_of(moe),
          .short_conv = config.short_conv,
          .shared = moe.shared_experts,
          .shared_gate = moe.shared_gate};
}

/// Makes a layer one whose router chooses nothing: there is no load to balance.
void hash(FeedForwardSpec& spec) {
  spec.router = RouterKind::hash;
  spec.balance = {.z_loss = spec.balance.z_loss};
}

/// Takes the router and all that is about it away.
void leave_shared_alone(FeedForwardSpec& spec) {
  spec.experts = spec.top_k = 0;
  spec.router = RouterKind::topk;
  spec.noise_in_eval = false;
  spec.capacity_factor = {};
  spec.jitter = 0;
  spec.balance = {};
}

/// Makes a layer one with a plain MLP: one expert that every token has.
void make_dense(FeedForwardSpec& spec, std::optional<std::int64_t> width) {
  spec.width = width.value_or(spec.token_slots() * spec.width);
  leave_shared_alone(spec);
  spec.shared = 1;
  spec.shared_gate = false;
}

void share_values(std::vector<LayerSpec>& layers) {
  for (auto& layer : layers) layer.attention.mixes_values = true;
  layers.front().attention.mixes_values = false;
  layers.front().attention.gives_values = true;
  layers.back().attention.begins_values = true;
}

DropoutSpec dropout_of(const ModelConfig& config) {
  const auto& places = config.dropouts;
  return {.embedding = places.embedding.value_or(0),
          .attention = places.attention.value_or(config.dropout),
          .residual = places.residual.value_or(config.dropout),
          .expert = places.expert.value_or(config.dropout),
          .ngrams = config.ngram.dropout};
}

/// Without keys where the vocabulary has none.
std::vector<NgramKeys> ngrams_of(const NgramConfig& config, const Vocabulary& vocabulary) {
  std::vector<NgramKeys> out;
  for (const auto order : config.orders) {
    const auto keys = std::ranges::find(vocabulary.ngrams, order, &NgramKeys::order);
    out.push_back(keys != vocabulary.ngrams.end() ? *keys : NgramKeys{order});
  }
  return out;
}

NormSpec norm_of(const ModelConfig& config) {
  if (config.norm == NormKind::rms) return {NormKind::rms, kRmsNormEps, /*bias=*/false};
  return {NormKind::layer, kLayerNormEps, /*bias=*/true};
}

}  // namespace

ModelSpec spec_of(const ModelConfig& config, const Vocabulary& vocabulary) {
  const LayerSpec layer{attention_of(config), feed_forward_of(config)};
  std::vector layers(static_cast<std::size_t>(config.n_layer), layer);
  for (const auto hashed : config.moe.hash_layers)
    hash(layers.at(static_cast<std::size_t>(hashed)).feed_forward);
  if (config.moe.router == RouterKind::hash)
    for (auto& one : layers) hash(one.feed_forward);
  for (const auto dense : config.moe.dense_layers)
    make_dense(layers.at(static_cast<std::size_t>(dense)).feed_forward, config.moe.dense_width);
  if (config.moe.num_experts == 0)
    for (auto& one : layers) leave_shared_alone(one.feed_forward);
  if (config.value_residual) share_values(layers);
  return {.vocab = vocabulary.symbols,
          .width = config.n_embed,
          .context = config.block_size,
          .position_table = config.positions == Positions::learned,
          .dropout = dropout_of(config),
          .init = config.init,
          .embedding_std = config.init_embedding_std,
          .router_init_std = config.moe.router_init_std,
          .zero_outputs = config.init_zero_outputs,
          .norm = norm_of(config),
          .bias = config.bias,
          .tied = config.tied,
          .layers = std::move(layers),
          .x0_shortcut = config.x0_shortcut,
          .ngrams = ngrams_of(config.ngram, vocabulary)};
}

}  // namespace moe
