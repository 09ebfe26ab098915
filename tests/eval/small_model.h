#pragma once

#include <ATen/ATen.h>
#include <ATen/core/grad_mode.h>

#include <cstdint>
#include <string>
#include <vector>

#include "moe/data/corpus.h"
#include "moe/eval/split_batches.h"
#include "moe/model/build.h"
#include "moe/model/language_model.h"

namespace moe::test {

constexpr std::int64_t kVocabularySize = 7, kExperts = 5, kTopK = 2, kLayers = 3, kContext = 8;

constexpr double kLossRounding = 1e-6;  // of a mean of float losses near 2

const inline SplitRequest kWholeSplit{.key = 42};

inline ModelConfig small_config() {
  ModelConfig config;
  config.n_embed = 16;
  config.n_head = 2;
  config.n_layer = kLayers;
  config.block_size = kContext;
  config.moe.num_experts = kExperts;
  config.moe.top_k = kTopK;
  return config;
}

/// With the weights that seed 5 draws: the same ones whatever its top_k.
inline SparseMoELanguageModel small_model(const ModelConfig& config = small_config()) {
  SparseMoELanguageModel model(config, kVocabularySize);
  initialise(model, 5);
  return model;
}

/// 0, 3, 6, 2, 5, ...: each symbol follows from the one before.
inline Tokens cyclic_tokens(std::int32_t count) {
  Tokens tokens;
  for (std::int32_t i = 0; i < count; ++i)
    tokens.push_back(i * 3 % static_cast<std::int32_t>(kVocabularySize));
  return tokens;
}

inline SparseMoEImpl& mixture_of(SparseMoELanguageModel& model, std::int64_t layer) {
  return model->block(layer).smoe();
}

/// Attention, or all experts, of a layer add nothing to the residual stream.
inline void silence_attention(SparseMoELanguageModel& model, std::int64_t layer) {
  const at::NoGradGuard no_grad;
  const auto proj = model->block(layer).sa().proj();
  proj.weight.detach().zero_();
  proj.bias.detach().zero_();
}
inline void silence_experts(SparseMoELanguageModel& model, std::int64_t layer) {
  const at::NoGradGuard no_grad;
  mixture_of(model, layer).weights().w2.detach().zero_();
  mixture_of(model, layer).weights().b2.detach().zero_();
}
/// All experts of a layer become the first.
inline void make_experts_equal(SparseMoELanguageModel& model, std::int64_t layer) {
  const at::NoGradGuard no_grad;
  const auto& w = mixture_of(model, layer).weights();
  for (const auto& stacked : {w.w1, w.b1, w.w2, w.b2})
    for (std::int64_t e = 1; e < stacked.size(0); ++e) stacked.detach()[e].copy_(stacked[0]);
}
/// The router of a layer has these logits, whatever the token.
inline void set_logits(SparseMoELanguageModel& model, std::int64_t layer,
                       const std::vector<float>& logits) {
  const at::NoGradGuard no_grad;
  const auto route = mixture_of(model, layer).route();
  route.weight.detach().zero_();
  for (std::size_t e = 0; e < logits.size(); ++e)
    route.bias.detach()[static_cast<std::int64_t>(e)].fill_(logits[e]);
}

/// Every parameter's values.
inline std::vector<at::Tensor> snapshot(const SparseMoELanguageModel& model) {
  std::vector<at::Tensor> out;
  for (const auto& parameter : model->parameters()) out.push_back(parameter.detach().clone());
  return out;
}
inline bool are_equal(const std::vector<at::Tensor>& a, const std::vector<at::Tensor>& b) {
  if (a.size() != b.size()) return false;
  for (std::size_t i = 0; i < a.size(); ++i)
    if (!a[i].equal(b[i])) return false;
  return true;
}

}  // namespace moe::test
