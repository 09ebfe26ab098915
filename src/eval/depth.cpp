#include "moe/eval/depth.h"

#include <ATen/core/grad_mode.h>

#include "eval/loss_mean.h"
#include "moe/eval/evaluator.h"

namespace moe {

namespace {

std::vector<double> values_of(const std::vector<LossMean>& means) {
  std::vector<double> values;
  for (const auto& mean : means) values.push_back(require_finite_loss(mean.value()));
  return values;
}

/// The same model with another number of experts for each token.
SparseMoELanguageModel with_top_k(const SparseMoELanguageModel& model, EngineKind engine,
                                  std::int64_t top_k) {
  auto spec = model->spec();
  for (auto& layer : spec.layers)
    if (layer.feed_forward.has_router()) layer.feed_forward.top_k = top_k;
  SparseMoELanguageModel other(spec, engine);
  const auto& like = model->token_table()->weight;
  other->to(like.device(), like.scalar_type());
  const auto from = model->named_parameters();
  for (auto& item : other->named_parameters()) item.value().copy_(from[item.key()]);
  const auto kept = model->named_buffers();
  for (auto& item : other->named_buffers()) item.value().copy_(kept[item.key()]);
  return other;
}

}  // namespace

DepthLosses losses_by_depth(SparseMoELanguageModel& model, TokenView tokens,
                            const SplitRequest& request) {
  const at::NoGradGuard no_grad;
  const auto layers = static_cast<std::int64_t>(model->spec().layers.size());
  LossMean embedding;
  std::vector<LossMean> attention(static_cast<std::size_t>(layers)), mixture(attention);
  kernels::Workspace workspace;
  for_each_batch(model, tokens, request, [&](const SplitBatch& batch) {
    workspace.reset();
    auto context = batch.context;
    context.workspace = &workspace;
    context.keeps_logits = false;
    const auto add = [&](LossMean& mean, const at::Tensor& x) {
      mean.add(model->finish(x, batch.targets, context).loss, batch.targets.numel());
    };
    SkipSources skips;
    auto x = model->enter(batch.ids, context, skips);
    add(embedding, x);
    for (std::int64_t layer = 0; layer < layers; ++layer) {
      x = model->attend(layer, x, context, skips);
      add(attention[static_cast<std::size_t>(layer)], x);
      x = model->mix(layer, x, context).y;
      add(mixture[static_cast<std::size_t>(layer)], x);
    }
  });
  return {embedding.targets(), require_finite_loss(embedding.value()), values_of(attention),
          values_of(mixture)};
}

std::vector<double> losses_by_top_k(const SparseMoELanguageModel& model, const ModelConfig& config,
                                    TokenView tokens, const SplitRequest& request) {
  const at::NoGradGuard no_grad;
  std::vector<double> losses;
  for (std::int64_t top_k = 1; top_k <= config.moe.num_experts; ++top_k) {
    auto other = with_top_k(model, engine_kind(config.kernels), top_k);
    losses.push_back(
        evaluate_full(other, tokens, request.key, request.max_windows, request.stop).loss);
    if (request.progress) request.progress(top_k, config.moe.num_experts);
  }
  return losses;
}

}  // namespace moe
