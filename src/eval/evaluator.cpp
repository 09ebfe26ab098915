#include "moe/eval/evaluator.h"

#include <ATen/core/grad_mode.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/log_softmax.h>
#include <ATen/ops/zeros.h>

#include <algorithm>
#include <cmath>
#include <span>
#include <stdexcept>

#include "eval/loss_mean.h"
#include "moe/base/error.h"
#include "moe/base/random.h"
#include "moe/base/text.h"
#include "moe/eval/inspect.h"

namespace moe {

namespace {

/// Sums losses and expert loads over forwards.
class Evaluation {
 public:
  Evaluation(SparseMoELanguageModel& model, RoutingTallies* routing)
      : model_(model), routing_(routing) {}

  void add(const SplitBatch& batch) {
    workspace_.reserve(model_->planned_memory(batch.most_windows, batch.targets.size(1),
                                              /*training=*/false));
    workspace_.reset();
    auto context = batch.context;
    context.workspace = &workspace_;
    context.keeps_routing = routing_ != nullptr;
    context.keeps_logits = false;
    const auto out = model_->forward(batch.ids, batch.targets, context);
    loss_.add(out.loss, batch.counted);
    load_ = load_.defined() ? load_.add_(out.expert_load) : out.expert_load.clone();
    if (routing_ != nullptr) add_routing(*routing_, batch.windows.inputs, out.routing);
  }

  EvalResult result() const {
    EvalResult out;
    out.loss = require_finite_loss(loss_.value());
    out.tokens = loss_.targets();
    const auto load = load_.cpu();
    const auto fractions = (load.to(at::kDouble) / load.sum(1, /*keepdim=*/true)).contiguous();
    const auto* values = fractions.const_data_ptr<double>();
    for (const auto& layer : model_->spec().layers) {
      out.expert_load.emplace_back(values, values + layer.feed_forward.experts);
      values += fractions.size(1);
    }
    return out;
  }

 private:
  SparseMoELanguageModel& model_;
  RoutingTallies* routing_;
  at::Tensor load_;  // (L, E) int64 on the model's device; undefined before the first forward
  kernels::Workspace workspace_;
  LossMean loss_;
};

}  // namespace

double require_finite_loss(double loss) {
  if (!std::isfinite(loss))
    throw NumericsError(cat("evaluation: the loss is ", loss,
                            "; the weights have diverged, use an earlier checkpoint"));
  return loss;
}

EvalResult evaluate_full(SparseMoELanguageModel& model, TokenView tokens, std::uint64_t key,
                         std::int64_t max_windows, const StopRequest& stop,
                         RoutingTallies* routing) {
  const at::NoGradGuard no_grad;
  Evaluation evaluation(model, routing);
  for_each_batch(model, tokens, {.key = key, .max_windows = max_windows, .stop = stop},
                 [&](const SplitBatch& batch) { evaluation.add(batch); });
  return evaluation.result();
}

EvalResult evaluate_strided(SparseMoELanguageModel& model, TokenView tokens, std::uint64_t key,
                            std::int64_t stride, const StopRequest& stop, RoutingTallies* routing) {
  const at::NoGradGuard no_grad;
  Evaluation evaluation(model, routing);
  for_each_batch(model, tokens, {.key = key, .stride = stride, .stop = stop},
                 [&](const SplitBatch& batch) { evaluation.add(batch); });
  return evaluation.result();
}

EvalResult evaluate_random(SparseMoELanguageModel& model, TokenView tokens, std::uint64_t key,
                           std::int64_t eval_iters, std::int64_t batch_size,
                           const StopRequest& stop, RoutingTallies* routing) {
  const auto block = model->spec().context;
  require_length(tokens, block + 1);
  if (eval_iters < 1 || batch_size < 1) throw std::logic_error("evaluate_random: no windows");
  const at::NoGradGuard no_grad;
  Generator draws(stream_key(key, "windows"));
  const auto starts = static_cast<std::uint64_t>(tokens.size()) - static_cast<std::uint64_t>(block);
  Evaluation evaluation(model, routing);
  const auto windows = eval_iters * batch_size, most = evaluation_windows(block);
  std::vector<std::int64_t> offsets;  // of one forward: all of them might be more than memory holds
  for (std::int64_t first = 0; first < windows; first += most) {
    check_stop(stop);
    offsets.resize(static_cast<std::size_t>(std::min(most, windows - first)));
    for (auto& offset : offsets) offset = static_cast<std::int64_t>(draws.below(starts));
    auto batch = make_batch(model, tokens, offsets, block, block);
    batch.context = make_context(static_cast<std::int64_t>(offsets.size()), block,
                                 /*training=*/false, key, first);
    evaluation.add(batch);
  }
  return evaluation.result();
}

at::Tensor log_probabilities(SparseMoELanguageModel& model, TokenView tokens, std::uint64_t key) {
  const at::NoGradGuard no_grad;
  const auto time =
      std::min<std::int64_t>(static_cast<std::int64_t>(tokens.size()), model->spec().context);
  auto ids = at::empty({1, time}, at::kLong);
  tokens.visit(
      [&](const auto* first) { std::copy_n(first, time, ids.mutable_data_ptr<std::int64_t>()); });
  const auto context = make_context(1, time, /*training=*/false, key);
  const auto on = model->lm_head()->tensors().weight.device();
  return model->forward(ids.to(on), /*targets=*/{}, context).logits[0].log_softmax(-1).cpu();
}

}  // namespace moe
