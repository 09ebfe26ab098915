#pragma once

#include <ATen/core/Tensor.h>
#include <torch/nn/module.h>
#include <torch/nn/modules/linear.h>
#include <torch/nn/pimpl.h>

#include <cstdint>
#include <vector>

#include "moe/kernels/layers.h"
#include "moe/model/context.h"
#include "moe/spec/model_spec.h"

namespace moe {

// Shapes: B sequences, T positions, C width, H heads, D head_width.

/// Keys and values of one layer for the positions seen so far: (B, H, context, D) each, or as the
/// fused layers lay them out (kernels::KeyValues).
struct LayerCache : kernels::KeyValues {
  std::int64_t length = 0;  // positions filled

  /// Room for `positions`, where there is none yet; x (B, T, C).
  void make_room(const at::Tensor& x, const AttentionSpec& spec, std::int64_t positions);
};

/// One LayerCache a layer.
struct KeyValueCache {
  std::vector<LayerCache> layers;
  std::int64_t length() const { return layers.empty() ? 0 : layers.front().length; }
};

/// (T_query, T_key) true where a key lies in the future of a query; queries are the last positions.
at::Tensor future_mask(std::int64_t queries, std::int64_t keys, at::Device device);

/// One causal attention head: (B, T, C) -> (B, T, D). Its weights are slices of the stacked
/// (3, C, C) weight of its MultiHeadAttention: query, key, value, each D rows a head.
class HeadImpl : public torch::nn::Module {
 public:
  HeadImpl(at::Tensor qkv, const AttentionSpec& spec, std::int64_t head);
  /// `mask` (B, T, T) multiplies the attention weights (dropout); undefined: none. With a cache, x
  /// continues what it holds; the caller counts its positions.
  at::Tensor forward(const at::Tensor& x, const at::Tensor& mask, LayerCache* cache);

 private:
  at::Tensor slice(std::int64_t which) const;  // (D, C)

  at::Tensor qkv_;  // shared with MultiHeadAttention
  AttentionSpec spec_;
  std::int64_t head_;
};
TORCH_MODULE(Head);

/// (B, T, C) -> (B, T, C): the heads side by side, one projection, dropout.
class MultiHeadAttentionImpl : public torch::nn::Module {
 public:
  MultiHeadAttentionImpl(const ModelSpec& spec, std::int64_t layer);
  /// With a cache, x continues what it holds, and the cache grows by T.
  at::Tensor forward(const at::Tensor& x, const ForwardContext& context, LayerCache* cache);

  /// Of the attention weights (B, T, H, T), or undefined.
  at::Tensor weights_mask(const at::Tensor& x, const ForwardContext& context) const;
  /// proj and its dropout; heads (B, T, H * D).
  at::Tensor project(const at::Tensor& heads, const ForwardContext& context);

  const AttentionSpec& spec() const { return spec_; }
  std::int64_t positions() const { return positions_; }
  const at::Tensor& qkv() const { return qkv_; }
  kernels::LinearParameters proj() const { return {proj_->weight, proj_->bias}; }

 private:
  AttentionSpec spec_;
  std::int64_t layer_, positions_;
  double dropout_;
  at::Tensor qkv_;  // (3, H * D, C)
  std::vector<Head> heads_;
  torch::nn::Linear proj_;
};
TORCH_MODULE(MultiHeadAttention);

}  // namespace moe
