#include "moe/config/spec_of.h"

#include <cmath>

namespace moe {

namespace {

constexpr std::int64_t kExpansion = 4;  // expert width over n_embed, as published

AttentionSpec attention_of(const ModelConfig& config) {
  const auto head_width = config.n_embed / config.n_head;
  const auto width =
      config.attention_scale == AttentionScale::n_embed ? config.n_embed : head_width;
  return {config.n_head, head_width, 1 / std::sqrt(static_cast<double>(width))};
}

FeedForwardSpec feed_forward_of(const ModelConfig& config) {
  const auto& moe = config.moe;
  return {moe.num_experts, moe.top_k,         kExpansion * config.n_embed, moe.router,
          moe.gate,        moe.noise_in_eval, moe.capacity_factor};
}

}  // namespace

ModelSpec spec_of(const ModelConfig& config, std::int64_t vocab) {
  const LayerSpec layer{attention_of(config), feed_forward_of(config)};
  return {
      vocab,          config.n_embed, config.block_size,
      config.dropout, config.init,    std::vector(static_cast<std::size_t>(config.n_layer), layer)};
}

}  // namespace moe
