#pragma once

#include <torch/nn/module.h>
#include <torch/nn/modules/container/modulelist.h>
#include <torch/nn/modules/embedding.h>
#include <torch/nn/modules/linear.h>
#include <torch/nn/modules/normalization.h>

#include <cstdint>
#include <vector>

#include "moe/config/config.h"
#include "moe/model/attention.h"
#include "moe/model/context.h"
#include "moe/model/moe.h"

namespace moe {

// Shapes: B sequences, T positions, N = B*T, C n_embed, E num_experts, V vocabulary, L n_layer.

/// What a forward yields.
struct LmOutput {
  at::Tensor logits;       // (B, T, V)
  at::Tensor loss;         // () mean cross-entropy [nats/token]; undefined without targets
  at::Tensor expert_load;  // (L, E) int64, tokens each expert served; on the CPU
  std::vector<Routing> routing = {};  // of each layer, if the context keeps it
};

/// Communication, then computation: x += sa(ln1(x)); x += smoe(ln2(x)).
class BlockImpl : public torch::nn::Module {
 public:
  BlockImpl(const ModelConfig& config, std::int64_t layer);
  /// x (B, T, C) -> (B, T, C); `moe_output` becomes its mixture's. `cache` may be null.
  at::Tensor forward(const at::Tensor& x, const ForwardContext& context, LayerCache* cache,
                     MoeOutput& moe_output);
  /// The last position of forward(x), (B, 1, C): the mixture sees no other.
  at::Tensor forward_last(const at::Tensor& x, const ForwardContext& context, LayerCache* cache);

 private:
  at::Tensor attend(const at::Tensor& x, const ForwardContext& context, LayerCache* cache);
  at::Tensor mix(const at::Tensor& attended, const ForwardContext& context, MoeOutput& moe_output);

  MultiHeadAttention sa_;
  SparseMoE smoe_;
  Kernels kernels_;
  torch::nn::LayerNorm ln1_, ln2_;
};
TORCH_MODULE(Block);

/// The published model: token and position embedding, L blocks, final norm, head.
class SparseMoELanguageModelImpl : public torch::nn::Module {
 public:
  SparseMoELanguageModelImpl(const ModelConfig& config, std::int64_t vocab_size);

  /// ids (B, T) int64 with T <= block_size and every id in [0, V) (the caller's promise); targets
  /// the same shape, or undefined.
  LmOutput forward(const at::Tensor& ids, const at::Tensor& targets, const ForwardContext& context);

  /// Logits (B, V) of the last position after `ids` (B, T) follow what `cache` holds; the cache
  /// grows by T and must not pass block_size. Evaluation mode only.
  at::Tensor extend(const at::Tensor& ids, KeyValueCache& cache, const ForwardContext& context);
  /// The same without a cache: logits (B, V) of the last position of `ids`.
  at::Tensor last_logits(const at::Tensor& ids, const ForwardContext& context);

  const ModelConfig& config() const { return config_; }
  std::int64_t vocab_size() const { return vocab_size_; }

 private:
  bool is_fused() const;
  at::Tensor embed(const at::Tensor& ids, std::int64_t first_position,
                   const ForwardContext& context);
  LmOutput head(const at::Tensor& x, const at::Tensor& targets, const ForwardContext& context);
  at::Tensor logits_of_last(const at::Tensor& ids, KeyValueCache* cache,
                            const ForwardContext& context);

  ModelConfig config_;
  std::int64_t vocab_size_;
  torch::nn::Embedding token_embedding_table_, position_embedding_table_;
  torch::nn::ModuleList blocks_;
  torch::nn::LayerNorm ln_f_;
  torch::nn::Linear lm_head_;
};
TORCH_MODULE(SparseMoELanguageModel);

}  // namespace moe
