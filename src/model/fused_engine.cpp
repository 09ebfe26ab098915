#include <ATen/ATen.h>

#include "model/engine.h"
#include "moe/kernels/memory_plan.h"

namespace moe {

namespace {

kernels::LayerRun run_of(const ForwardContext& context) {
  return {context.rows, context.gradients, context.workspace, context.bfloat16,
          context.keeps_routing};
}

kernels::DropoutDraws dropout_of(const ForwardContext& context, double rate, std::int64_t layer,
                                 DrawKind kind) {
  return {context.training ? rate : 0.0, draw_key(context, layer, kind)};
}

/// Of x at `position` and those that follow.
kernels::AttentionParameters attention_of(BlockImpl& block, const at::Tensor& x,
                                          std::int64_t position, const ForwardContext& context) {
  auto& sa = block.sa();
  return {
      block.ln1()->tensors(),
      sa.qkv(),
      sa.q_norm(),
      sa.k_norm(),
      sa.angles(position, x.size(1), x),
      sa.proj(),
      sa.spec().heads,
      sa.spec().scale,
      dropout_of(context, block.dropout().attention, block.layer(), DrawKind::attention_dropout),
      dropout_of(context, block.dropout().residual, block.layer(), DrawKind::projection_dropout),
      block.sa_conv(),
      sa.value_lambda(),
      sa.spec().gives_values};
}

kernels::MixtureParameters mixture_of(const BlockImpl& block, std::int64_t tokens,
                                      const ForwardContext& context) {
  const auto& smoe = block.smoe();
  const auto& weights = smoe.weights();
  kernels::MixtureParameters parameters;
  parameters.norm = block.ln2()->tensors();
  parameters.route = smoe.route();
  parameters.noise = smoe.noise();
  parameters.w1 = weights.w1;
  parameters.b1 = weights.b1;
  parameters.w2 = weights.w2;
  parameters.b2 = weights.b2;
  parameters.shared = smoe.spec().shared;
  parameters.shared_gate = smoe.shared_gate();
  parameters.gate = smoe.spec().gate;
  parameters.gate_norm = smoe.spec().gate_norm;
  parameters.gate_scale = smoe.spec().gate_scale;
  parameters.activation = smoe.spec().activation;
  parameters.top_k = smoe.spec().top_k;
  parameters.capacity = context.training ? expert_capacity(smoe.spec(), tokens) : -1;
  parameters.noisy = parameters.noise.weight.defined() && smoe.draws_noise(context);
  parameters.noise_draw = draw_key(context, block.layer(), DrawKind::router_noise);
  if (parameters.noisy && context.noise.defined())
    parameters.draws = context.noise[block.layer()].contiguous();
  parameters.dropout =
      dropout_of(context, block.dropout().expert, block.layer(), DrawKind::expert_dropout);
  if (context.training) {
    parameters.balance = smoe.spec().balance;
    parameters.jitter = smoe.spec().jitter;
  }
  parameters.jitter_draw = draw_key(context, block.layer(), DrawKind::router_jitter);
  if (smoe.hashed().defined()) {
    parameters.symbols = context.symbols;
    parameters.hashed = smoe.hashed();
  }
  parameters.update_sums = context.update_sums_of(block.layer());
  parameters.choice_bias = smoe.balance_bias();
  parameters.conv = block.smoe_conv();
  return parameters;
}

class FusedEngine final : public Engine {
 public:
  at::Tensor embed(SparseMoELanguageModelImpl& model, const at::Tensor& ids,
                   std::int64_t first_position, const ForwardContext& context) const override {
    return kernels::embedding_layer(
        ids, model.token_table()->weight, model.position_table(), first_position,
        dropout_of(context, model.spec().dropout.embedding, 0, DrawKind::embedding_dropout),
        run_of(context));
  }

  SkipSources skips(SparseMoELanguageModelImpl& model, const at::Tensor& x, const at::Tensor& ids,
                    const at::Tensor& before, const ForwardContext& context) const override {
    const auto& spec = model.spec();
    if (!spec.reads_skips() && !spec.has_value_residual()) return {};
    return kernels::make_skips(x, spec.x0_shortcut, model.ngram_tables(), ids, before,
                               dropout_of(context, spec.dropout.ngrams, 0, DrawKind::ngram_dropout),
                               run_of(context));
  }

  at::Tensor enter(BlockImpl& block, const at::Tensor& x, const SkipSources& skips,
                   const ForwardContext& context) const override {
    if (!skips.stream.defined() && !skips.ngrams.defined()) return x;
    return kernels::enter_block(x, block.skip_weights(), skips, run_of(context));
  }

  at::Tensor attend(BlockImpl& block, const at::Tensor& x, const ForwardContext& context,
                    LayerCache* cache, SkipSources& skips) const override {
    const auto position = cache != nullptr ? cache->length : 0;
    const auto positions = block.sa().positions();
    const auto parameters = attention_of(block, x, position, context);
    const auto run = run_of(context);
    if (cache == nullptr) return kernels::attention_layer(x, parameters, run, nullptr, &skips);
    if (!cache->keys.defined())
      static_cast<kernels::KeyValues&>(*cache) = kernels::make_key_values(x, positions);
    TORCH_CHECK(position == 0 || x.size(1) == 1, "after ", position, " positions one follows, not ",
                x.size(1));
    auto out = position == 0 ? kernels::attention_layer(x, parameters, run, cache, &skips)
                             : kernels::attention_step(
                                   x, parameters, run, *cache,
                                   {cache->place(positions), cache->filled(positions)}, &skips);
    cache->length += x.size(1);
    return out;
  }

  MoeOutput mix(BlockImpl& block, const at::Tensor& x, const ForwardContext& context,
                LayerCache* cache) const override {
    const auto tokens = x.numel() / x.size(-1);
    auto result = kernels::mixture_layer(x, mixture_of(block, tokens, context), run_of(context),
                                         cache != nullptr ? &cache->mixture_recent : nullptr);
    return {std::move(result.out), std::move(result.load), std::move(result.routing),
            std::move(result.side)};
  }

  LmOutput predict(SparseMoELanguageModelImpl& model, const at::Tensor& x,
                   const at::Tensor& targets, const ForwardContext& context) const override {
    const bool wants_logits = context.keeps_logits || !targets.defined();
    auto result = kernels::vocabulary_layer(x, model.ln_f()->tensors(), model.lm_head()->tensors(),
                                            targets, wants_logits, run_of(context));
    LmOutput out;
    if (wants_logits) out.logits = result.logits.view({x.size(0), x.size(1), -1});
    out.loss = std::move(result.loss);
    return out;
  }

  std::int64_t planned_memory(const ModelSpec& spec, std::int64_t windows, std::int64_t time,
                              bool training) const override {
    return training ? kernels::planned_training_memory(spec, windows, time)
                    : kernels::planned_evaluation_memory(spec, windows, time);
  }
  bool writes_gradients() const override { return true; }
  bool extends_one_by_one() const override { return true; }
};

}  // namespace

const Engine& fused_engine() {
  static const FusedEngine engine;
  return engine;
}

}  // namespace moe
