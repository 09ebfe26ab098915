#include "moe/model/language_model.h"

#include <ATen/ATen.h>
#include <torch/csrc/autograd/autograd.h>

#include <algorithm>

#include "model/engine.h"
#include "moe/config/spec_of.h"

namespace moe {

EngineKind engine_kind(Kernels kernels) {
  return kernels == Kernels::reference ? EngineKind::reference : EngineKind::fast;
}

at::Tensor total_loss(const LmOutput& out) {
  auto total = out.loss;
  for (const auto& side : out.side)
    if (side.loss.defined()) total = total + side.loss;
  return total;
}

void backward(const LmOutput& out, const at::Tensor& factor) {
  std::vector<at::Tensor> losses{out.loss};
  for (const auto& side : out.side)
    if (side.loss.defined() && side.loss.requires_grad()) losses.push_back(side.loss);
  torch::autograd::backward(losses, std::vector<at::Tensor>(losses.size(), factor));
}

namespace {

/// (L, E) of the loads of all layers, with zeros where a layer has no router.
at::Tensor stacked_loads(const std::vector<at::Tensor>& loads, std::int64_t experts,
                         kernels::Workspace* workspace) {
  const auto layers = static_cast<std::int64_t>(loads.size());
  auto out = loads.front().is_cpu() ? kernels::take_from(workspace, {layers, experts}, at::kLong)
                                    : loads.front().new_empty({layers, experts});
  for (std::int64_t layer = 0; layer < layers; ++layer) {
    const auto& load = loads[static_cast<std::size_t>(layer)];
    if (load.numel() == experts)
      out[layer].copy_(load);
    else
      out[layer].zero_();
  }
  return out;
}

}  // namespace

BlockImpl::BlockImpl(const ModelSpec& spec, std::int64_t layer)
    : layer_(layer),
      dropout_(spec.dropout),
      sa_(register_module("sa", MultiHeadAttention(spec, layer))),
      smoe_(register_module("smoe", SparseMoE(spec, layer))),
      ln1_(register_module("ln1", Norm(spec.width, spec.norm))),
      ln2_(register_module("ln2", Norm(spec.width, spec.norm))) {
  const auto& own = spec.layers[static_cast<std::size_t>(layer)];
  if (own.attention.short_conv > 0)
    sa_conv_ = register_module("sa_conv", ShortConv(spec.width, own.attention.short_conv));
  if (own.feed_forward.short_conv > 0)
    smoe_conv_ = register_module("smoe_conv", ShortConv(spec.width, own.feed_forward.short_conv));
  if (spec.x0_shortcut) {
    resid_lambda_ = register_module("resid_lambda", Lambda());
    x0_lambda_ = register_module("x0_lambda", Lambda());
  }
  if (!spec.ngrams.empty()) ngram_lambda_ = register_module("ngram_lambda", Lambda());
}

at::Tensor BlockImpl::enter(const at::Tensor& x, const SkipSources& sources) {
  auto y = x;
  if (!x0_lambda_.is_empty())
    y = resid_lambda_->weight() * y + x0_lambda_->weight() * sources.stream;
  if (!ngram_lambda_.is_empty()) y = y + ngram_lambda_->weight() * sources.ngrams;
  return y;
}

at::Tensor BlockImpl::attend(const at::Tensor& x, const ForwardContext& context, LayerCache* cache,
                             SkipSources& skips) {
  return x + sa_->forward(attention_input(x, cache), context, cache, skips);
}

MoeOutput BlockImpl::mix(const at::Tensor& x, const ForwardContext& context, LayerCache* cache) {
  auto out = smoe_->forward(mixture_input(x, cache), context);
  out.y = x + out.y;
  return out;
}

at::Tensor BlockImpl::attention_input(const at::Tensor& x, LayerCache* cache) {
  const auto normed = ln1_(x);
  if (sa_conv_.is_empty()) return normed;
  return sa_conv_->forward(normed, cache != nullptr ? &cache->recent : nullptr);
}

at::Tensor BlockImpl::mixture_input(const at::Tensor& x, LayerCache* cache) {
  const auto normed = ln2_(x);
  if (smoe_conv_.is_empty()) return normed;
  return smoe_conv_->forward(normed, cache != nullptr ? &cache->mixture_recent : nullptr);
}

SparseMoELanguageModelImpl::SparseMoELanguageModelImpl(const ModelSpec& spec, EngineKind engine)
    : spec_(spec),
      engine_(engine),
      token_embedding_table_(
          register_module("token_embedding_table", torch::nn::Embedding(spec.vocab, spec.width))),
      blocks_(register_module("blocks", torch::nn::ModuleList())),
      ln_f_(register_module("ln_f", Norm(spec.width, spec.norm))),
      lm_head_(register_module("lm_head", LmHead(spec, token_embedding_table_->weight))) {
  if (spec.position_table)
    position_embedding_table_ =
        register_module("position_embedding_table", torch::nn::Embedding(spec.context, spec.width));
  if (!spec.ngrams.empty()) ngram_ = register_module("ngram", NgramTables(spec));
  for (std::size_t layer = 0; layer < spec.layers.size(); ++layer)
    blocks_->push_back(Block(spec, static_cast<std::int64_t>(layer)));
}

SparseMoELanguageModelImpl::SparseMoELanguageModelImpl(const ModelConfig& config,
                                                       const Vocabulary& vocabulary)
    : SparseMoELanguageModelImpl(spec_of(config, vocabulary), engine_kind(config.kernels)) {}

LmOutput SparseMoELanguageModelImpl::forward(const at::Tensor& ids, const at::Tensor& targets,
                                             const ForwardContext& context) {
  if (context.gradients != nullptr && !engine().writes_gradients())
    context.gradients->zero_unwritten();  // autograd knows no first writer: it adds
  auto here = context;
  here.symbols = ids.contiguous().view({-1});
  std::vector<at::Tensor> loads;
  std::vector<Routing> routing;
  std::vector<kernels::SideLoss> side;
  SkipSources skips;
  auto x = enter(ids, context, skips);
  for (std::int64_t layer = 0; layer < static_cast<std::int64_t>(spec_.layers.size()); ++layer) {
    auto mixed = mix(layer, attend(layer, x, context, skips), here);
    x = std::move(mixed.y);
    loads.push_back(std::move(mixed.load));
    if (context.keeps_routing) routing.push_back(std::move(mixed.routing));
    if (context.training) side.push_back(std::move(mixed.side));
  }
  auto out = finish(x, targets, context);
  out.routing = std::move(routing);
  out.side = std::move(side);
  out.expert_load = stacked_loads(loads, spec_.most_experts(), context.workspace);
  return out;
}

at::Tensor SparseMoELanguageModelImpl::enter(const at::Tensor& ids, const ForwardContext& context,
                                             SkipSources& skips) {
  auto x = engine().embed(*this, ids, 0, context);
  skips = engine().skips(*this, x, ids, /*before=*/{}, context);
  return x;
}

at::Tensor SparseMoELanguageModelImpl::attend(std::int64_t layer, const at::Tensor& x,
                                              const ForwardContext& context, SkipSources& skips) {
  auto& part = block(layer);
  return engine().attend(part, engine().enter(part, x, skips, context), context,
                         /*cache=*/nullptr, skips);
}

MoeOutput SparseMoELanguageModelImpl::mix(std::int64_t layer, const at::Tensor& x,
                                          const ForwardContext& context) {
  return engine().mix(block(layer), x, context, /*cache=*/nullptr);
}

LmOutput SparseMoELanguageModelImpl::finish(const at::Tensor& x, const at::Tensor& targets,
                                            const ForwardContext& context) {
  return engine().predict(*this, x, targets, context);
}

std::int64_t SparseMoELanguageModelImpl::planned_memory(std::int64_t windows, std::int64_t time,
                                                        bool training) const {
  return engine().planned_memory(spec_, windows, time, training);
}

at::Tensor SparseMoELanguageModelImpl::embed(const at::Tensor& ids, std::int64_t first_position,
                                             const ForwardContext& context) {
  auto x = token_embedding_table_(ids);  // (B, T, C)
  if (position_embedding_table_)
    x = x + position_embedding_table_->weight.narrow(0, first_position, ids.size(1));
  const auto rate = spec_.dropout.embedding;
  if (!context.training || rate == 0) return x;
  return x * kernels::dropout_mask(context.rows, x.size(2), rate,
                                   draw_key(context, 0, DrawKind::embedding_dropout), x)
                 .view(x.sizes());
}

LmOutput SparseMoELanguageModelImpl::predict(const at::Tensor& x, const at::Tensor& targets) {
  LmOutput out;
  out.logits = lm_head_(ln_f_(x));
  if (targets.defined())
    out.loss = at::cross_entropy_loss(out.logits.flatten(0, 1), targets.flatten(), /*weight=*/{},
                                      at::Reduction::Mean, kNoTarget);
  return out;
}

SkipSources SparseMoELanguageModelImpl::skips(const at::Tensor& x, const at::Tensor& ids,
                                              const at::Tensor& before,
                                              const ForwardContext& context) {
  SkipSources out;
  if (spec_.x0_shortcut) out.stream = x;
  if (!ngram_.is_empty()) out.ngrams = ngram_->forward(ids, before, context);
  return out;
}

const Engine& SparseMoELanguageModelImpl::engine() const {
  return engine_for(engine_, lm_head_->tensors().weight.device());
}

BlockImpl& SparseMoELanguageModelImpl::block(std::int64_t layer) {
  return *blocks_[static_cast<std::size_t>(layer)]->as<Block>();
}

at::Tensor SparseMoELanguageModelImpl::extend(const at::Tensor& ids, KeyValueCache& cache,
                                              const ForwardContext& context) {
  cache.layers.resize(spec_.layers.size());
  const auto batch = ids.size(0), time = ids.size(1);
  const bool fits = cache.length() + time <= spec_.context;
  TORCH_CHECK(fits || (spec_.slides() && cache.length() > 0), "the cache is full: ", cache.length(),
              " + ", time, " > ", spec_.context);
  const bool at_once = cache.length() == 0 || (fits && !engine().extends_one_by_one());
  if (at_once || time == 1) return logits_of_last(ids, &cache, context);
  at::Tensor logits;
  for (std::int64_t t = 0; t < time; ++t)
    logits = logits_of_last(ids.narrow(1, t, 1), &cache, at_positions(context, batch, time, t, 1));
  return logits;
}

at::Tensor SparseMoELanguageModelImpl::last_logits(const at::Tensor& ids,
                                                   const ForwardContext& context) {
  return logits_of_last(ids, /*cache=*/nullptr, context);
}

at::Tensor SparseMoELanguageModelImpl::symbols_before(const at::Tensor& ids,
                                                      KeyValueCache* cache) const {
  if (ngram_.is_empty() || cache == nullptr) return {};
  const auto before = cache->symbols.defined() ? cache->symbols : ngram_->outside(ids);
  cache->symbols = at::cat({before, ids}, 1).narrow(1, ids.size(1), before.size(1)).contiguous();
  return before;
}

at::Tensor SparseMoELanguageModelImpl::logits_of_last(const at::Tensor& ids, KeyValueCache* cache,
                                                      const ForwardContext& context) {
  TORCH_CHECK(!context.training, "logits of the last position alone are for evaluation");
  const auto& how = engine();
  const auto batch = ids.size(0);
  auto here = context;
  here.symbols = ids.contiguous().view({-1});
  auto x = how.embed(*this, ids, cache != nullptr ? cache->length() : 0, context);
  auto skips = how.skips(*this, x, ids, symbols_before(ids, cache), context);
  const auto keep_last = [&](std::int64_t count) {  // what follows sees no other position
    const auto time = x.size(1), first = time - count;
    if (first <= 0) return;
    x = x.narrow(1, first, count).contiguous();
    here = at_positions(here, batch, time, first, count);
  };
  for (std::size_t layer = 0; layer < spec_.layers.size(); ++layer) {
    auto& part = block(static_cast<std::int64_t>(layer));
    auto* kept = cache != nullptr ? &cache->layers[layer] : nullptr;
    x = how.attend(part, how.enter(part, x, skips, here), here, kept, skips);
    if (layer + 1 == spec_.layers.size())
      keep_last(std::max<std::int64_t>(1, part.smoe().spec().short_conv));
    x = how.mix(part, x, here, kept).y;
  }
  keep_last(1);
  return how.predict(*this, x, /*targets=*/{}, here).logits.select(1, 0);
}

}  // namespace moe
