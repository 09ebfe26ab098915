#include "moe/eval/ablation.h"

#include <ATen/ATen.h>
#include <ATen/core/grad_mode.h>

#include <limits>

#include "eval/loss_mean.h"

namespace moe {

namespace {

constexpr double kInfinity = std::numeric_limits<double>::infinity();

/// While it lives, no token of the mixture chooses the expert: its logit is minus infinity.
class MaskedExpert {
 public:
  MaskedExpert(SparseMoEImpl& mixture, std::int64_t expert)
      : bias_(mixture.route_bias()), own_(bias_) {
    const auto& weight = mixture.route().weight;  // (E, C)
    auto masked =
        own_.defined() ? own_.detach().clone() : at::zeros({weight.size(0)}, weight.options());
    masked[expert].fill_(-kInfinity);
    bias_ = masked;
  }
  ~MaskedExpert() { bias_ = own_; }
  MaskedExpert(const MaskedExpert&) = delete;
  MaskedExpert& operator=(const MaskedExpert&) = delete;

 private:
  at::Tensor& bias_;
  at::Tensor own_;
};

/// While it lives, the expert's down projection and its bias are 0, so that it answers nothing.
class SilentExpert {
 public:
  SilentExpert(SparseMoEImpl& mixture, std::int64_t expert) {
    for (const auto& stacked : {mixture.weights().w2, mixture.weights().b2}) {
      if (!stacked.defined()) continue;
      auto part = stacked.detach()[expert];
      kept_.emplace_back(part, part.clone());
      part.zero_();
    }
  }
  ~SilentExpert() {
    for (auto& [part, value] : kept_) part.copy_(value);
  }
  SilentExpert(const SilentExpert&) = delete;
  SilentExpert& operator=(const SilentExpert&) = delete;

 private:
  std::vector<std::pair<at::Tensor, at::Tensor>> kept_;
};

using LossTable = std::vector<std::vector<LossMean>>;  // (L, E)

class Ablator {
 public:
  Ablator(SparseMoELanguageModel& model, const StopRequest& stop) : model_(model), stop_(stop) {
    for (const auto& layer : model->spec().layers)
      masked_.emplace_back(static_cast<std::size_t>(layer.feed_forward.experts));
    zeroed_ = masked_;
  }

  void add(const SplitBatch& batch) {
    auto context = batch.context;
    context.workspace = &workspace_;
    context.keeps_logits = false;
    workspace_.reset();
    skips_ = {};
    auto x =
        model_->enter(batch.ids, context, skips_).clone();  // survives the workspace's next round
    kernels::keep_apart(skips_);
    for (std::size_t layer = 0; layer < masked_.size(); ++layer) {
      const auto number = static_cast<std::int64_t>(layer);
      workspace_.reset();
      const auto entry = model_->attend(number, x, context, skips_).clone();
      if (layer == 0) kernels::keep_apart(skips_);  // with its values
      add_layer(number, entry, batch, context);
      workspace_.reset();
      x = model_->mix(number, entry, context).y.clone();
    }
    workspace_.reset();
    whole_.add(model_->finish(x, batch.targets, context).loss, batch.targets.numel());
  }

  Ablation result() const {
    const auto loss = require_finite_loss(whole_.value());
    const auto rises = [&](const LossTable& table) {
      std::vector<std::vector<double>> out;
      for (const auto& layer : table) {
        auto& row = out.emplace_back();
        for (const auto& mean : layer) row.push_back(mean.value() - loss);  // NaN of no targets
      }
      return out;
    };
    return {whole_.targets(), loss, rises(masked_), rises(zeroed_)};
  }

 private:
  /// `entry` is what the mixture of the layer takes in.
  void add_layer(std::int64_t layer, const at::Tensor& entry, const SplitBatch& batch,
                 const ForwardContext& context) {
    auto& mixture = model_->block(layer).smoe();
    const auto l = static_cast<std::size_t>(layer);
    const auto experts = masked_[l].size();
    for (std::size_t e = 0; e < experts; ++e) {
      check_stop(stop_);
      const auto expert = static_cast<std::int64_t>(e);
      if (experts > 1) {
        const MaskedExpert without(mixture, expert);
        add_from(layer, entry, batch, context, masked_[l][e]);
      }
      const SilentExpert silent(mixture, expert);
      add_from(layer, entry, batch, context, zeroed_[l][e]);
    }
  }

  void add_from(std::int64_t first, const at::Tensor& entry, const SplitBatch& batch,
                const ForwardContext& context, LossMean& mean) {
    workspace_.reset();
    auto x = model_->mix(first, entry, context).y;
    for (auto layer = first + 1; layer < static_cast<std::int64_t>(masked_.size()); ++layer)
      x = model_->mix(layer, model_->attend(layer, x, context, skips_), context).y;
    mean.add(model_->finish(x, batch.targets, context).loss, batch.targets.numel());
  }

  SparseMoELanguageModel& model_;
  const StopRequest& stop_;
  SkipSources skips_;  // of the batch at hand
  LossTable masked_, zeroed_;
  LossMean whole_;
  kernels::Workspace workspace_;
};

}  // namespace

Ablation ablate(SparseMoELanguageModel& model, const Tokens& tokens, const SplitRequest& request) {
  const at::NoGradGuard no_grad;
  Ablator ablator(model, request.stop);
  for_each_batch(model, tokens, request, [&](const SplitBatch& batch) { ablator.add(batch); });
  return ablator.result();
}

}  // namespace moe
