#include "moe/model/language_model.h"

#include <ATen/ATen.h>

namespace moe {

namespace {

/// The fused layers are the CPU's; elsewhere and for the reference the modules are composed.
bool runs_fused(Kernels kernels, const at::Tensor& x) {
  return kernels == Kernels::fast && x.is_cpu();
}

}  // namespace

BlockImpl::BlockImpl(const ModelConfig& config, std::int64_t layer)
    : sa_(register_module("sa", MultiHeadAttention(config, layer))),
      smoe_(register_module("smoe", SparseMoE(config, layer))),
      kernels_(config.kernels),
      ln1_(register_module("ln1",
                           torch::nn::LayerNorm(torch::nn::LayerNormOptions({config.n_embed})))),
      ln2_(register_module("ln2",
                           torch::nn::LayerNorm(torch::nn::LayerNormOptions({config.n_embed})))) {}

at::Tensor BlockImpl::forward(const at::Tensor& x, const ForwardContext& context, LayerCache* cache,
                              MoeOutput& moe_output) {
  return mix(attend(x, context, cache), context, moe_output);
}

at::Tensor BlockImpl::forward_last(const at::Tensor& x, const ForwardContext& context,
                                   LayerCache* cache) {
  const auto last = x.size(1) - 1;
  const auto attended = attend(x, context, cache);
  MoeOutput unused;
  if (last == 0) return mix(attended, context, unused);  // the context is that position's already
  return mix(attended.narrow(1, last, 1).contiguous(),
             at_position(context, x.size(0), x.size(1), last), unused);
}

at::Tensor BlockImpl::attend(const at::Tensor& x, const ForwardContext& context,
                             LayerCache* cache) {
  if (runs_fused(kernels_, x)) return sa_->fused(x, ln1_, context, cache);
  return x + sa_->forward(ln1_(x), context, cache);
}

at::Tensor BlockImpl::mix(const at::Tensor& attended, const ForwardContext& context,
                          MoeOutput& moe_output) {
  if (runs_fused(kernels_, attended)) {
    moe_output = smoe_->fused(attended, ln2_, context);
    return moe_output.y;
  }
  moe_output = smoe_->forward(ln2_(attended), context);
  return attended + moe_output.y;
}

SparseMoELanguageModelImpl::SparseMoELanguageModelImpl(const ModelConfig& config,
                                                       std::int64_t vocab_size)
    : config_(config),
      vocab_size_(vocab_size),
      token_embedding_table_(register_module("token_embedding_table",
                                             torch::nn::Embedding(vocab_size, config.n_embed))),
      position_embedding_table_(register_module(
          "position_embedding_table", torch::nn::Embedding(config.block_size, config.n_embed))),
      blocks_(register_module("blocks", torch::nn::ModuleList())),
      ln_f_(register_module("ln_f",
                            torch::nn::LayerNorm(torch::nn::LayerNormOptions({config.n_embed})))),
      lm_head_(register_module("lm_head", torch::nn::Linear(config.n_embed, vocab_size))) {
  for (std::int64_t layer = 0; layer < config.n_layer; ++layer)
    blocks_->push_back(Block(config, layer));
}

bool SparseMoELanguageModelImpl::is_fused() const {
  return runs_fused(config_.kernels, lm_head_->weight);
}

at::Tensor SparseMoELanguageModelImpl::embed(const at::Tensor& ids, std::int64_t first_position,
                                             const ForwardContext& context) {
  if (is_fused())
    return kernels::embedding_layer(ids, token_embedding_table_->weight,
                                    position_embedding_table_->weight, first_position,
                                    layer_run(context, config_));
  const auto positions = position_embedding_table_->weight.narrow(0, first_position, ids.size(1));
  return token_embedding_table_(ids) + positions;  // (B, T, C)
}

LmOutput SparseMoELanguageModelImpl::forward(const at::Tensor& ids, const at::Tensor& targets,
                                             const ForwardContext& context) {
  std::vector<at::Tensor> loads;
  std::vector<Routing> routing;
  // Autograd knows no first writer: it adds.
  if (context.gradients != nullptr && !is_fused()) context.gradients->zero_unwritten();
  auto x = embed(ids, 0, context);
  for (const auto& module : *blocks_) {
    MoeOutput moe_output;
    x = module->as<Block>()->forward(x, context, /*cache=*/nullptr, moe_output);
    loads.push_back(moe_output.load);
    if (context.keeps_routing) routing.push_back(std::move(moe_output.routing));
  }
  auto out = head(x, targets, context);
  out.routing = std::move(routing);
  out.expert_load = is_fused()
                        ? kernels::take_from(context.workspace,
                                             {config_.n_layer, config_.moe.num_experts}, at::kLong)
                        : at::empty({0}, loads.front().options());
  at::stack_out(out.expert_load, loads);
  return out;
}

LmOutput SparseMoELanguageModelImpl::head(const at::Tensor& x, const at::Tensor& targets,
                                          const ForwardContext& context) {
  LmOutput out;
  if (is_fused()) {
    const auto result =
        kernels::head_layer(x, norm_parameters(ln_f_), {lm_head_->weight, lm_head_->bias}, targets,
                            layer_run(context, config_));
    out.logits = result.logits.view({x.size(0), x.size(1), vocab_size_});
    out.loss = result.loss;
    return out;
  }
  out.logits = lm_head_(ln_f_(x));
  if (targets.defined())
    out.loss = at::cross_entropy_loss(out.logits.flatten(0, 1), targets.flatten());
  return out;
}

at::Tensor SparseMoELanguageModelImpl::extend(const at::Tensor& ids, KeyValueCache& cache,
                                              const ForwardContext& context) {
  cache.layers.resize(static_cast<std::size_t>(config_.n_layer));
  const auto batch = ids.size(0), time = ids.size(1);
  TORCH_CHECK(cache.length() + time <= config_.block_size, "the cache is full: ", cache.length(),
              " + ", time, " > ", config_.block_size);
  if (!is_fused() || cache.length() == 0 || time == 1) return logits_of_last(ids, &cache, context);
  at::Tensor logits;  // one position after another
  for (std::int64_t t = 0; t < time; ++t)
    logits = logits_of_last(ids.narrow(1, t, 1), &cache, at_position(context, batch, time, t));
  return logits;
}

at::Tensor SparseMoELanguageModelImpl::last_logits(const at::Tensor& ids,
                                                   const ForwardContext& context) {
  return logits_of_last(ids, /*cache=*/nullptr, context);
}

at::Tensor SparseMoELanguageModelImpl::logits_of_last(const at::Tensor& ids, KeyValueCache* cache,
                                                      const ForwardContext& context) {
  TORCH_CHECK(!context.training, "logits of the last position alone are for evaluation");
  auto x = embed(ids, cache != nullptr ? cache->length() : 0, context);
  for (std::int64_t layer = 0; layer < config_.n_layer; ++layer) {
    auto* block = blocks_[static_cast<std::size_t>(layer)]->as<Block>();
    auto* layer_cache =
        cache != nullptr ? &cache->layers[static_cast<std::size_t>(layer)] : nullptr;
    MoeOutput unused;
    x = layer + 1 < config_.n_layer ? block->forward(x, context, layer_cache, unused)
                                    : block->forward_last(x, context, layer_cache);
  }
  return head(x, /*targets=*/{}, context).logits.select(1, 0);
}

}  // namespace moe
