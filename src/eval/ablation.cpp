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

/// The mean loss of all targets, and of each kind.
struct LossMeans {
  LossMean all;
  std::vector<LossMean> by_kind;
};
using LossTable = std::vector<std::vector<LossMeans>>;  // (L, E)

LossRise rise_of(const LossMeans& without, const LossMeans& whole) {
  LossRise out{without.all.value() - whole.all.value()};
  for (std::size_t kind = 0; kind < whole.by_kind.size(); ++kind)
    out.by_kind.push_back(without.by_kind[kind].value() - whole.by_kind[kind].value());
  return out;
}

std::vector<std::vector<LossRise>> rises_of(const LossTable& table, const LossMeans& whole) {
  std::vector<std::vector<LossRise>> out;
  for (const auto& layer : table) {
    auto& row = out.emplace_back();
    for (const auto& without : layer) row.push_back(rise_of(without, whole));
  }
  return out;
}

/// The targets of one kind in a batch; all others do not count.
struct KindTargets {
  std::size_t kind = 0;
  at::Tensor targets;  // (B, T)
  std::int64_t counted = 0;
};

std::vector<KindTargets> split_by_kind(const at::Tensor& targets, const TargetKinds& kinds) {
  std::vector<KindTargets> out;
  if (kinds.count == 0) return out;
  const auto of_target = at::tensor(kinds.of, targets.options()).take(targets);
  for (std::int64_t kind = 0; kind < kinds.count; ++kind) {
    const auto counts = of_target.eq(kind);
    if (const auto counted = counts.sum().item<std::int64_t>(); counted > 0)
      out.push_back({static_cast<std::size_t>(kind),
                     targets.masked_fill(counts.logical_not(), kNoTarget), counted});
  }
  return out;
}

class Ablator {
 public:
  Ablator(SparseMoELanguageModel& model, const StopRequest& stop, const TargetKinds& kinds)
      : model_(model), stop_(stop), kinds_(kinds) {
    whole_.by_kind.resize(static_cast<std::size_t>(kinds.count));
    for (const auto& layer : model->spec().layers)
      masked_.emplace_back(static_cast<std::size_t>(layer.feed_forward.experts), whole_);
    zeroed_ = masked_;
  }

  void add(const SplitBatch& batch) {
    auto context = batch.context;
    context.workspace = &workspace_;
    context.keeps_logits = false;
    workspace_.reset();
    skips_ = {};
    by_kind_ = split_by_kind(batch.targets, kinds_);
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
    add_losses(x, batch, context, whole_);
  }

  Ablation result() const {
    Ablation out{whole_.all.targets(), require_finite_loss(whole_.all.value())};
    for (const auto& mean : whole_.by_kind) {
      out.tokens_by_kind.push_back(mean.targets());
      out.loss_by_kind.push_back(mean.value());
    }
    out.masked = rises_of(masked_, whole_);
    out.zeroed = rises_of(zeroed_, whole_);
    return out;
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
                const ForwardContext& context, LossMeans& means) {
    workspace_.reset();
    auto x = model_->mix(first, entry, context).y;
    for (auto layer = first + 1; layer < static_cast<std::int64_t>(masked_.size()); ++layer)
      x = model_->mix(layer, model_->attend(layer, x, context, skips_), context).y;
    add_losses(x, batch, context, means);
  }

  /// `x` is what leaves the last layer.
  void add_losses(const at::Tensor& x, const SplitBatch& batch, const ForwardContext& context,
                  LossMeans& means) {
    means.all.add(model_->finish(x, batch.targets, context).loss, batch.targets.numel());
    for (const auto& [kind, targets, counted] : by_kind_)
      means.by_kind[kind].add(model_->finish(x, targets, context).loss, counted);
  }

  SparseMoELanguageModel& model_;
  const StopRequest& stop_;
  const TargetKinds& kinds_;
  SkipSources skips_;                 // of the batch at hand
  std::vector<KindTargets> by_kind_;  // likewise
  LossTable masked_, zeroed_;
  LossMeans whole_;
  kernels::Workspace workspace_;
};

}  // namespace

Ablation ablate(SparseMoELanguageModel& model, TokenView tokens, const SplitRequest& request,
                const TargetKinds& kinds) {
  const at::NoGradGuard no_grad;
  Ablator ablator(model, request.stop, kinds);
  for_each_batch(model, tokens, request, [&](const SplitBatch& batch) { ablator.add(batch); });
  return ablator.result();
}

}  // namespace moe
