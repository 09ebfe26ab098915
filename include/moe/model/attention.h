#pragma once

#include <ATen/core/Tensor.h>
#include <torch/nn/module.h>
#include <torch/nn/modules/container/modulelist.h>
#include <torch/nn/modules/linear.h>
#include <torch/nn/modules/normalization.h>
#include <torch/nn/pimpl.h>

#include <cstdint>
#include <vector>

#include "moe/config/config.h"
#include "moe/kernels/layers.h"
#include "moe/model/context.h"

namespace moe {

// Shapes: B sequences, T positions, C n_embed, H n_head, D = C/H.

/// Keys and values of one layer for the positions seen so far: (B, H, block_size, D) each, or as
/// the fused layers lay them out (kernels::KeyValues).
struct LayerCache : kernels::KeyValues {
  std::int64_t length = 0;  // positions filled
};

/// One LayerCache a layer.
struct KeyValueCache {
  std::vector<LayerCache> layers;
  std::int64_t length() const { return layers.empty() ? 0 : layers.front().length; }
};

/// One causal attention head: (B, T, C) -> (B, T, D). Its weights are slices of the stacked
/// (3, C, C) weight of its MultiHeadAttention: query, key, value, each D rows a head.
class HeadImpl : public torch::nn::Module {
 public:
  HeadImpl(at::Tensor qkv, const ModelConfig& config, std::int64_t head);
  /// `mask` (B, T, T) multiplies the attention weights (dropout); undefined: none.
  at::Tensor forward(const at::Tensor& x, const at::Tensor& mask);

 private:
  at::Tensor slice(std::int64_t which) const;  // (D, C)

  at::Tensor qkv_;  // shared with MultiHeadAttention
  std::int64_t head_, head_size_;
  double scale_;
};
TORCH_MODULE(Head);

/// (B, T, C) -> (B, T, C): the heads side by side, one projection, dropout.
class MultiHeadAttentionImpl : public torch::nn::Module {
 public:
  MultiHeadAttentionImpl(const ModelConfig& config, std::int64_t layer);
  /// With a cache, x continues what it holds, and the cache grows by T.
  at::Tensor forward(const at::Tensor& x, const ForwardContext& context, LayerCache* cache);
  /// x + forward(norm(x), context, cache) in one function, on the CPU. Where the cache holds
  /// positions already, x is one more.
  at::Tensor fused(const at::Tensor& x, const torch::nn::LayerNorm& norm,
                   const ForwardContext& context, LayerCache* cache);

 private:
  at::Tensor composed_heads(const at::Tensor& x, const at::Tensor& mask);
  at::Tensor stacked_heads(const at::Tensor& x, const at::Tensor& mask, LayerCache* cache);

  ModelConfig config_;
  std::int64_t layer_;
  double scale_;
  at::Tensor qkv_;  // (3, C, C)
  std::vector<Head> heads_;
  torch::nn::Linear proj_;
};
TORCH_MODULE(MultiHeadAttention);

/// Scores are multiplied by this: head_size^-0.5, or n_embed^-0.5 as published.
double attention_scale(const ModelConfig& config);

}  // namespace moe
