#pragma once

#include <ATen/core/Tensor.h>
#include <torch/nn/module.h>
#include <torch/nn/modules/linear.h>
#include <torch/nn/pimpl.h>

#include <algorithm>
#include <cstdint>
#include <vector>

#include "moe/kernels/layers.h"
#include "moe/model/context.h"
#include "moe/model/norm.h"
#include "moe/model/skips.h"
#include "moe/spec/model_spec.h"

namespace moe {

// Shapes: B sequences, T positions, C width, H heads, D head_width.

/// Keys and values of one layer for the positions seen so far: (B, H, context, D) each, or as the
/// fused layers lay them out (kernels::KeyValues). Once it is full, each new position takes the
/// place of the oldest. What convolutions read, `recent` of attention's and `mixture_recent`, is as
/// ShortConv has it, or the fused layers (kernels::RecentRows).
struct LayerCache : kernels::KeyValues {
  at::Tensor mixture_recent;
  std::int64_t length = 0;  // positions seen

  /// Room for `positions`, where there is none yet; x (B, T, C).
  void make_room(const at::Tensor& x, const AttentionSpec& spec, std::int64_t positions);
  /// Where the next position goes, of room for `positions`, and how many there are after it.
  std::int64_t place(std::int64_t positions) const { return length % positions; }
  std::int64_t filled(std::int64_t positions) const { return std::min(length + 1, positions); }
  /// Fills `kept` (B, positions, D), one head's keys or values, with those of T new positions (B,
  /// T, D); returns what is there afterwards.
  at::Tensor join(const at::Tensor& kept, const at::Tensor& fresh) const;
};

/// One LayerCache a layer.
struct KeyValueCache {
  std::vector<LayerCache> layers;
  at::Tensor symbols;  // (B, reach) the last ones, of a model with n-gram tables
  std::int64_t length() const { return layers.empty() ? 0 : layers.front().length; }
};

/// (T_query, T_key) true where a key lies in the future of a query; queries are the last positions.
at::Tensor future_mask(std::int64_t queries, std::int64_t keys, at::Device device);

/// Angles of positions [first, first + count) in double: (count, D), the cosines of the D/2 pairs,
/// then their sines; pair i of position t turns by t * base^(-2i/D).
at::Tensor rotary_angles(std::int64_t first, std::int64_t count, std::int64_t head_width,
                         double base);
/// x (..., T, D) with pairs (i, i + D/2) turned by angles (T, D).
at::Tensor rotate(const at::Tensor& x, const at::Tensor& angles);

/// What queries and keys (..., T, D) go through before they meet: a norm, then a rotation.
struct QueryKeyStage {
  Norm q_norm{nullptr}, k_norm{nullptr};  // null: none
  at::Tensor angles;                      // (T, D) of these positions; undefined: none
  at::Tensor query(const at::Tensor& x) const { return applied(x, q_norm); }
  at::Tensor key(const at::Tensor& x) const { return applied(x, k_norm); }

 private:
  at::Tensor applied(const at::Tensor& x, Norm norm) const;
};

/// One causal attention head: (B, T, C) -> (B, T, D). Its weights are slices of the stacked
/// (3, C, C) weight of its MultiHeadAttention: query, key, value, each D rows a head.
class HeadImpl : public torch::nn::Module {
 public:
  HeadImpl(at::Tensor qkv, const AttentionSpec& spec, std::int64_t head);
  /// `value` (B, T, D) is what the head mixes; `mask` (B, T, T) multiplies the attention weights
  /// (dropout); undefined: none. With a cache, x continues what it holds; the caller counts its
  /// positions.
  at::Tensor forward(const at::Tensor& x, at::Tensor value, const QueryKeyStage& stage,
                     const at::Tensor& mask, LayerCache* cache);
  /// The head's own values of x, (B, T, D).
  at::Tensor value(const at::Tensor& x) const { return x.matmul(slice(2).t()); }

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
  at::Tensor forward(const at::Tensor& x, const ForwardContext& context, LayerCache* cache,
                     SkipSources& skips);

  /// Of positions [first, first + count), like x in precision and device.
  QueryKeyStage query_key_stage(std::int64_t first, std::int64_t count, const at::Tensor& x);
  /// Of positions [first, first + count), (count, D), like x; undefined: they do not rotate.
  at::Tensor angles(std::int64_t first, std::int64_t count, const at::Tensor& x);
  /// What heads mix instead of their own values (any shape), where there is a value residual; those
  /// of the first block become a part of `skips`.
  at::Tensor mixed_values(const at::Tensor& own, SkipSources& skips) const;
  /// (1), or undefined: the values are its own.
  at::Tensor value_lambda() const {
    return value_lambda_.is_empty() ? at::Tensor() : value_lambda_->weight();
  }
  /// Of the attention weights (B, T, H, T), or undefined.
  at::Tensor weights_mask(const at::Tensor& x, const ForwardContext& context) const;
  /// proj and its dropout; heads (B, T, H * D).
  at::Tensor project(const at::Tensor& heads, const ForwardContext& context);

  const AttentionSpec& spec() const { return spec_; }
  std::int64_t positions() const { return positions_; }
  const at::Tensor& qkv() const { return qkv_; }
  kernels::LinearParameters proj() const { return {proj_->weight, proj_->bias}; }
  /// Undefined weights for none.
  kernels::NormParameters q_norm() const { return tensors_of(q_norm_); }
  kernels::NormParameters k_norm() const { return tensors_of(k_norm_); }

 private:
  static kernels::NormParameters tensors_of(const Norm& norm) {
    return norm.is_empty() ? kernels::NormParameters{} : norm->tensors();
  }

  AttentionSpec spec_;
  std::int64_t layer_, positions_;
  DropoutSpec dropout_;
  at::Tensor qkv_;  // (3, H * D, C)
  std::vector<Head> heads_;
  torch::nn::Linear proj_;
  Norm q_norm_{nullptr}, k_norm_{nullptr};
  Lambda value_lambda_{nullptr};
  at::Tensor angles_;  // of the context, as `angles` was last asked for them
};
TORCH_MODULE(MultiHeadAttention);

}  // namespace moe
