#include "moe/model/attention.h"

#include <ATen/ATen.h>

#include <cmath>
#include <limits>

namespace moe {

namespace {

/// (T_query, T_key) true where a key lies in the future of a query; queries are the last positions.
at::Tensor future_mask(std::int64_t queries, std::int64_t keys, at::Device device) {
  return at::ones({queries, keys}, at::TensorOptions(device).dtype(at::kBool))
      .triu(keys - queries + 1);
}

constexpr double kMinusInfinity = -std::numeric_limits<double>::infinity();

}  // namespace

double attention_scale(const ModelConfig& config) {
  const auto width = config.attention_scale == AttentionScale::n_embed
                         ? config.n_embed
                         : config.n_embed / config.n_head;
  return 1 / std::sqrt(static_cast<double>(width));
}

HeadImpl::HeadImpl(at::Tensor qkv, const ModelConfig& config, std::int64_t head)
    : qkv_(std::move(qkv)),
      head_(head),
      head_size_(config.n_embed / config.n_head),
      scale_(attention_scale(config)) {}

at::Tensor HeadImpl::slice(std::int64_t which) const {
  return qkv_.select(0, which).narrow(0, head_ * head_size_, head_size_);
}

at::Tensor HeadImpl::forward(const at::Tensor& x, const at::Tensor& mask) {
  const auto query = x.matmul(slice(0).t()), key = x.matmul(slice(1).t());  // (B, T, D)
  const auto scores = query.matmul(key.transpose(-2, -1)) * scale_;         // (B, T, T)
  auto weights =
      scores.masked_fill(future_mask(x.size(1), x.size(1), x.device()), kMinusInfinity).softmax(-1);
  if (mask.defined()) weights = weights * mask;
  return weights.matmul(x.matmul(slice(2).t()));
}

MultiHeadAttentionImpl::MultiHeadAttentionImpl(const ModelConfig& config, std::int64_t layer)
    : config_(config),
      layer_(layer),
      scale_(attention_scale(config)),
      qkv_(register_parameter("qkv", at::empty({3, config.n_embed, config.n_embed}))),
      proj_(register_module("proj", torch::nn::Linear(config.n_embed, config.n_embed))) {
  for (std::int64_t head = 0; head < config.n_head; ++head) heads_.emplace_back(qkv_, config, head);
}

at::Tensor MultiHeadAttentionImpl::forward(const at::Tensor& x, const ForwardContext& context,
                                           LayerCache* cache) {
  const auto b = x.size(0), t = x.size(1), c = x.size(2), h = config_.n_head;
  const bool drops = context.training && config_.dropout > 0;
  at::Tensor mask;  // (B, T, H, T)
  if (drops)
    mask = kernels::dropout_mask(context.rows, h * kernels::whole_blocks(t), config_.dropout,
                                 draw_key(context, layer_, DrawKind::attention_dropout), x)
               .view({b, t, h, kernels::whole_blocks(t)})
               .narrow(3, 0, t);
  const bool composed = config_.kernels == Kernels::reference && cache == nullptr;
  auto y = proj_(composed ? composed_heads(x, mask) : stacked_heads(x, mask, cache));
  if (drops)
    y = y * kernels::dropout_mask(context.rows, c, config_.dropout,
                                  draw_key(context, layer_, DrawKind::projection_dropout), x)
                .view({b, t, c});
  return y;
}

at::Tensor MultiHeadAttentionImpl::fused(const at::Tensor& x, const torch::nn::LayerNorm& norm,
                                         const ForwardContext& context, LayerCache* cache) {
  const kernels::AttentionParameters parameters{
      norm_parameters(norm),
      qkv_,
      {proj_->weight, proj_->bias},
      config_.n_head,
      scale_,
      draw_key(context, layer_, DrawKind::attention_dropout),
      draw_key(context, layer_, DrawKind::projection_dropout)};
  const auto run = layer_run(context, config_);
  if (cache == nullptr) return kernels::attention_layer(x, parameters, run);
  if (!cache->keys.defined())
    static_cast<kernels::KeyValues&>(*cache) = kernels::make_key_values(x, config_.block_size);
  const auto position = cache->length;
  TORCH_CHECK(position == 0 || x.size(1) == 1, "after ", position, " positions one follows, not ",
              x.size(1));
  auto out = position == 0 ? kernels::attention_layer(x, parameters, run, cache)
                           : kernels::attention_step(x, parameters, run, *cache, position);
  cache->length += x.size(1);
  return out;
}

at::Tensor MultiHeadAttentionImpl::composed_heads(const at::Tensor& x, const at::Tensor& mask) {
  std::vector<at::Tensor> outputs;
  for (std::size_t head = 0; head < heads_.size(); ++head)
    outputs.push_back(heads_[head]->forward(
        x, mask.defined() ? mask.select(2, static_cast<std::int64_t>(head)) : at::Tensor()));
  return at::cat(outputs, -1);
}

at::Tensor MultiHeadAttentionImpl::stacked_heads(const at::Tensor& x, const at::Tensor& mask,
                                                 LayerCache* cache) {
  const auto b = x.size(0), t = x.size(1), c = x.size(2), h = config_.n_head;
  const auto qkv = x.view({b * t, c})
                       .matmul(qkv_.view({3 * c, c}).t())
                       .view({b, t, 3, h, c / h})
                       .permute({2, 0, 3, 1, 4});  // (3, B, H, T, D)
  auto keys = qkv.select(0, 1), values = qkv.select(0, 2);
  if (cache != nullptr) {
    if (!cache->keys.defined()) {
      cache->keys = at::empty({b, h, config_.block_size, c / h}, x.options());
      cache->values = at::empty_like(cache->keys);
    }
    cache->keys.narrow(2, cache->length, t).copy_(keys);
    cache->values.narrow(2, cache->length, t).copy_(values);
    cache->length += t;
    keys = cache->keys.narrow(2, 0, cache->length);
    values = cache->values.narrow(2, 0, cache->length);
  }
  auto scores = (qkv.select(0, 0) * scale_).matmul(keys.transpose(-2, -1));  // (B, H, T, T_keys)
  if (t > 1) scores = scores.masked_fill(future_mask(t, keys.size(2), x.device()), kMinusInfinity);
  auto weights = scores.softmax(-1);
  if (mask.defined()) weights = weights * mask.transpose(1, 2);
  return weights.matmul(values).transpose(1, 2).reshape({b, t, c});
}

}  // namespace moe
