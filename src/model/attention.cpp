#include "moe/model/attention.h"

#include <ATen/ATen.h>

#include <limits>

namespace moe {

void LayerCache::make_room(const at::Tensor& x, const AttentionSpec& spec, std::int64_t positions) {
  if (keys.defined()) return;
  keys = at::empty({x.size(0), spec.heads, positions, spec.head_width}, x.options());
  values = at::empty_like(keys);
}

at::Tensor LayerCache::join(const at::Tensor& kept, const at::Tensor& fresh) const {
  const auto positions = kept.size(1), time = fresh.size(1), begin = place(positions);
  TORCH_CHECK(begin + time <= positions, "a cache of ", positions, " positions that holds ", length,
              " takes no ", time, " more at once");
  kept.narrow(1, begin, time).copy_(fresh);
  return kept.narrow(1, 0, std::min(length + time, positions));
}

at::Tensor future_mask(std::int64_t queries, std::int64_t keys, at::Device device) {
  return at::ones({queries, keys}, at::TensorOptions(device).dtype(at::kBool))
      .triu(keys - queries + 1);
}

at::Tensor rotary_angles(std::int64_t first, std::int64_t count, std::int64_t head_width,
                         double base) {
  const auto options = at::TensorOptions(at::kDouble);
  const auto exponents = at::arange(0, head_width, 2, options) / -static_cast<double>(head_width);
  const auto turns = at::outer(at::arange(first, first + count, options), at::pow(base, exponents));
  return at::cat({turns.cos(), turns.sin()}, 1);
}

at::Tensor rotate(const at::Tensor& x, const at::Tensor& angles) {
  const auto halves = x.chunk(2, -1), turns = angles.chunk(2, -1);
  const auto &a = halves[0], &b = halves[1], &cosine = turns[0], &sine = turns[1];
  return at::cat({a * cosine - b * sine, b * cosine + a * sine}, -1);
}

at::Tensor QueryKeyStage::applied(const at::Tensor& x, Norm norm) const {
  const auto normed = norm.is_empty() ? x : norm(x);
  return angles.defined() ? rotate(normed, angles) : normed;
}

HeadImpl::HeadImpl(at::Tensor qkv, const AttentionSpec& spec, std::int64_t head)
    : qkv_(std::move(qkv)), spec_(spec), head_(head) {}

at::Tensor HeadImpl::slice(std::int64_t which) const {
  return qkv_.select(0, which).narrow(0, head_ * spec_.head_width, spec_.head_width);
}

at::Tensor HeadImpl::forward(const at::Tensor& x, at::Tensor value, const QueryKeyStage& stage,
                             const at::Tensor& mask, LayerCache* cache) {
  const auto query = stage.query(x.matmul(slice(0).t()));  // (B, T, D)
  auto key = stage.key(x.matmul(slice(1).t()));
  if (cache != nullptr) {
    key = cache->join(cache->keys.select(1, head_), key);
    value = cache->join(cache->values.select(1, head_), value);
  }
  constexpr double kMinusInfinity = -std::numeric_limits<double>::infinity();
  const auto scores = query.matmul(key.transpose(-2, -1)) * spec_.scale;  // (B, T, T_keys)
  auto weights = scores.masked_fill(future_mask(x.size(1), key.size(1), x.device()), kMinusInfinity)
                     .softmax(-1);
  if (mask.defined()) weights = weights * mask;
  return weights.matmul(value);
}

MultiHeadAttentionImpl::MultiHeadAttentionImpl(const ModelSpec& spec, std::int64_t layer)
    : spec_(spec.layers[static_cast<std::size_t>(layer)].attention),
      layer_(layer),
      positions_(spec.context),
      dropout_(spec.dropout),
      qkv_(register_parameter("qkv", at::empty({3, spec_.heads * spec_.head_width, spec.width}))),
      proj_(register_module(
          "proj",
          torch::nn::Linear(torch::nn::LinearOptions(spec_.heads * spec_.head_width, spec.width)
                                .bias(spec_.bias)))) {
  for (std::int64_t head = 0; head < spec_.heads; ++head) heads_.emplace_back(qkv_, spec_, head);
  if (spec_.mixes_values) value_lambda_ = register_module("value_lambda", Lambda());
  if (spec_.qk_norm == QkNorm::none) return;
  constexpr NormSpec kNorm{NormKind::rms, /*eps=*/1e-6, /*bias=*/false};
  q_norm_ = register_module("q_norm", Norm(spec_.head_width, kNorm));
  k_norm_ = register_module("k_norm", Norm(spec_.head_width, kNorm));
}

at::Tensor MultiHeadAttentionImpl::angles(std::int64_t first, std::int64_t count,
                                          const at::Tensor& x) {
  if (!spec_.rotary_base) return {};
  const auto computed = [&](std::int64_t from, std::int64_t positions) {
    return rotary_angles(from, positions, spec_.head_width, *spec_.rotary_base)
        .to(x.device(), x.scalar_type());
  };
  if (first + count > positions_) return computed(first, count);  // a cache that slides
  if (!angles_.defined() || angles_.dtype() != x.dtype() || angles_.device() != x.device())
    angles_ = computed(0, positions_);
  return angles_.narrow(0, first, count);
}

QueryKeyStage MultiHeadAttentionImpl::query_key_stage(std::int64_t first, std::int64_t count,
                                                      const at::Tensor& x) {
  return {q_norm_, k_norm_, angles(first, count, x)};
}

at::Tensor MultiHeadAttentionImpl::mixed_values(const at::Tensor& own, SkipSources& skips) const {
  if (spec_.gives_values) skips.values = own;
  if (!spec_.mixes_values) return own;
  const auto& lambda = value_lambda_->weight();
  return (1 - lambda) * own + lambda * skips.values;
}

at::Tensor MultiHeadAttentionImpl::forward(const at::Tensor& x, const ForwardContext& context,
                                           LayerCache* cache, SkipSources& skips) {
  if (cache != nullptr) cache->make_room(x, spec_, positions_);
  const auto mask = weights_mask(x, context);
  const auto stage = query_key_stage(cache != nullptr ? cache->length : 0, x.size(1), x);
  std::vector<at::Tensor> values, answers;
  for (auto& head : heads_) values.push_back(head->value(x));
  if (spec_.gives_values || spec_.mixes_values)
    values = mixed_values(at::stack(values, 2), skips).unbind(2);
  for (std::int64_t head = 0; head < spec_.heads; ++head) {
    const auto i = static_cast<std::size_t>(head);
    answers.push_back(heads_[i]->forward(x, values[i], stage,
                                         mask.defined() ? mask.select(2, head) : mask, cache));
  }
  if (cache != nullptr) cache->length += x.size(1);
  return project(at::cat(answers, -1), context);
}

at::Tensor MultiHeadAttentionImpl::weights_mask(const at::Tensor& x,
                                                const ForwardContext& context) const {
  if (!context.training || dropout_.attention == 0) return {};
  const auto b = x.size(0), t = x.size(1), padded = kernels::whole_blocks(t);
  return kernels::dropout_mask(context.rows, spec_.heads * padded, dropout_.attention,
                               draw_key(context, layer_, DrawKind::attention_dropout), x)
      .view({b, t, spec_.heads, padded})
      .narrow(3, 0, t);
}

at::Tensor MultiHeadAttentionImpl::project(const at::Tensor& heads, const ForwardContext& context) {
  auto y = proj_(heads);
  if (!context.training || dropout_.residual == 0) return y;
  return y * kernels::dropout_mask(context.rows, y.size(2), dropout_.residual,
                                   draw_key(context, layer_, DrawKind::projection_dropout), y)
                 .view(y.sizes());
}

}  // namespace moe
