#include <ATen/ATen.h>

#include <limits>

#include "model/engine.h"

namespace moe {

namespace {

/// All heads at once: (B, T, C) -> (B, T, H * D).
at::Tensor stacked_heads(MultiHeadAttentionImpl& sa, const at::Tensor& x,
                         const ForwardContext& context, LayerCache* cache, SkipSources& skips) {
  const auto& spec = sa.spec();
  const auto b = x.size(0), t = x.size(1), c = x.size(2), h = spec.heads, d = spec.head_width;
  const auto qkv = x.view({b * t, c})
                       .matmul(sa.qkv().view({3 * h * d, c}).t())
                       .view({b, t, 3, h, d})
                       .permute({2, 0, 3, 1, 4});  // (3, B, H, T, D)
  const auto stage = sa.query_key_stage(cache != nullptr ? cache->length : 0, t, x);
  auto keys = stage.key(qkv.select(0, 1)), values = sa.mixed_values(qkv.select(0, 2), skips);
  if (cache != nullptr) {
    cache->make_room(x, spec, sa.positions());
    const auto joined = [&](const at::Tensor& kept, const at::Tensor& fresh) {
      return cache->join(kept.flatten(0, 1), fresh.flatten(0, 1)).unflatten(0, {b, h});
    };
    keys = joined(cache->keys, keys);
    values = joined(cache->values, values);
    cache->length += t;
  }
  constexpr double kMinusInfinity = -std::numeric_limits<double>::infinity();
  auto scores = (stage.query(qkv.select(0, 0)) * spec.scale)
                    .matmul(keys.transpose(-2, -1));  // (B, H, T, ...)
  if (t > 1) scores = scores.masked_fill(future_mask(t, keys.size(2), x.device()), kMinusInfinity);
  auto weights = scores.softmax(-1);
  const auto mask = sa.weights_mask(x, context);  // (B, T, H, T)
  if (mask.defined()) weights = weights * mask.transpose(1, 2);
  return weights.matmul(values).transpose(1, 2).reshape({b, t, h * d});
}

class StackedEngine final : public Engine {
 public:
  at::Tensor attend(BlockImpl& block, const at::Tensor& x, const ForwardContext& context,
                    LayerCache* cache, SkipSources& skips) const override {
    auto& sa = block.sa();
    return x + sa.project(stacked_heads(sa, block.attention_input(x, cache), context, cache, skips),
                          context);
  }
  MoeOutput mix(BlockImpl& block, const at::Tensor& x, const ForwardContext& context,
                LayerCache* cache) const override {
    auto& smoe = block.smoe();
    const auto normed = block.mixture_input(x, cache);
    const auto tokens = normed.reshape({-1, x.size(-1)});
    const auto where = smoe.dispatch(tokens, context);
    const auto& spec = smoe.spec();
    const auto rows =
        kernels::make_expert_rows(where.experts, spec.all_experts(), where.capacity, spec.shared);
    const auto y = kernels::expert_mixture(tokens, where.gates, where.mask, rows, smoe.weights(),
                                           spec.activation);
    auto out = smoe.output(normed, y, rows.load, where, context);
    out.y = x + out.y;
    return out;
  }
};

}  // namespace

const Engine& stacked_engine() {
  static const StackedEngine engine;
  return engine;
}

}  // namespace moe
