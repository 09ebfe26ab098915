#include "moe/model/language_model.h"

#include <ATen/ATen.h>

namespace moe {

BlockImpl::BlockImpl(const ModelConfig& config, std::int64_t layer)
    : sa_(register_module("sa", MultiHeadAttention(config, layer))),
      smoe_(register_module("smoe", SparseMoE(config, layer))),
      ln1_(register_module("ln1",
                           torch::nn::LayerNorm(torch::nn::LayerNormOptions({config.n_embed})))),
      ln2_(register_module("ln2",
                           torch::nn::LayerNorm(torch::nn::LayerNormOptions({config.n_embed})))) {}

at::Tensor BlockImpl::forward(const at::Tensor& x, const ForwardContext& context, LayerCache* cache,
                              MoeOutput& moe_output) {
  const auto attended = x + sa_->forward(ln1_(x), context, cache);
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

at::Tensor SparseMoELanguageModelImpl::embed(const at::Tensor& ids, std::int64_t first_position) {
  const auto positions = position_embedding_table_->weight.narrow(0, first_position, ids.size(1));
  return token_embedding_table_(ids) + positions;  // (B, T, C)
}

LmOutput SparseMoELanguageModelImpl::forward(const at::Tensor& ids, const at::Tensor& targets,
                                             const ForwardContext& context) {
  LmOutput out;
  std::vector<at::Tensor> loads;
  auto x = embed(ids, 0);
  for (const auto& module : *blocks_) {
    MoeOutput moe_output;
    x = module->as<Block>()->forward(x, context, /*cache=*/nullptr, moe_output);
    loads.push_back(moe_output.load);
    out.dropped += moe_output.dropped;
  }
  out.logits = lm_head_(ln_f_(x));
  out.expert_load = at::stack(loads);
  if (targets.defined())
    out.loss = at::cross_entropy_loss(out.logits.flatten(0, 1), targets.flatten());
  return out;
}

at::Tensor SparseMoELanguageModelImpl::extend(const at::Tensor& ids, KeyValueCache& cache,
                                              const ForwardContext& context) {
  cache.layers.resize(static_cast<std::size_t>(config_.n_layer));
  TORCH_CHECK(cache.length() + ids.size(1) <= config_.block_size,
              "the cache is full: ", cache.length(), " + ", ids.size(1), " > ", config_.block_size);
  auto x = embed(ids, cache.length());
  std::size_t layer = 0;
  for (const auto& module : *blocks_) {
    MoeOutput moe_output;
    x = module->as<Block>()->forward(x, context, &cache.layers[layer++], moe_output);
  }
  return lm_head_(ln_f_(x.select(1, -1)));
}

}  // namespace moe
