#include "model/side_loss.h"

#include <ATen/ATen.h>

#include <cmath>

namespace moe {

namespace {

// Shapes: B windows, T positions, N tokens, E experts, K top_k.

/// (N, E): the router's scores over their sum.
at::Tensor probabilities(const at::Tensor& logits, Gate gate) {
  return gate == Gate::sigmoid ? at::log_sigmoid(logits).softmax(-1) : logits.softmax(-1);
}

/// (N, E): with which probability an expert is among the K if its own noise is drawn again (Shazeer
/// et al. 2017, arXiv 1701.06538, appendix A).
at::Tensor load_estimate(const kernels::Routing& routing, const at::Tensor& chosen) {
  constexpr double kLeastStd = 1e-6;  // softplus far below 0 is 0 in float
  const auto k = routing.experts.size(1);
  const auto sorted = std::get<0>(routing.noisy.sort(/*stable=*/true, -1, /*descending=*/true));
  const auto threshold =
      at::where(chosen.gt(0), sorted.narrow(1, k, 1), sorted.narrow(1, k - 1, 1));
  const auto margin = (routing.logits - threshold) / routing.noise_std.clamp_min(kLeastStd);
  return 0.5 * at::erfc(-margin / std::sqrt(2.0));
}

/// Variance over squared mean of values (E).
at::Tensor variation(const at::Tensor& values) {
  constexpr double kEps = 1e-10;
  const auto mean = values.mean();
  return (values - mean).square().mean() / (mean.square() + kEps);
}

}  // namespace

kernels::SideLoss side_loss(const FeedForwardSpec& spec, const kernels::Routing& routing,
                            std::int64_t windows, const at::Tensor& update_sums) {
  const auto& weights = spec.balance;
  if (!weights.has_losses() && !weights.has_bias()) return {};
  const auto& logits = routing.logits;
  const auto e = static_cast<double>(spec.experts);
  const auto zeros = at::zeros_like(logits);
  const auto chosen = zeros.scatter(1, routing.experts, 1);             // (N, E)
  const auto gates = zeros.scatter(1, routing.experts, routing.gates);  // (N, E)
  const auto p = probabilities(logits, spec.gate);                      // (N, E)
  const auto load = weights.importance_load > 0 ? load_estimate(routing, chosen) : zeros;
  const auto sums = at::stack({chosen.sum(0), gates.sum(0), load.sum(0), p.sum(0)});
  // Values of the whole update. Its parts' gradients are averaged: each is so many times its own.
  auto whole = sums;
  if (update_sums.defined()) {
    const auto known = update_sums.to(sums.options());
    const auto parts = known[kChoices].sum() / sums[kChoices].sum();
    whole = known + parts * (sums - sums.detach());
  }
  const auto shares = (whole[kChoices] / whole[kChoices].sum()).detach();  // (E)
  const auto by_window = [&](const at::Tensor& rows) {
    return rows.view({windows, -1, spec.experts}).mean(1);  // (B, E)
  };
  const auto nothing = logits.new_zeros({});
  const auto if_wanted = [&](double weight, const at::Tensor& term) {
    return weight > 0 ? term : nothing;
  };
  const std::vector<at::Tensor> terms{
      if_wanted(weights.switch_batch, e * (shares * p.mean(0)).sum()),
      if_wanted(weights.switch_sequence, e / static_cast<double>(spec.top_k) *
                                             (by_window(chosen) * by_window(p)).sum(-1).mean()),
      if_wanted(weights.importance_load, variation(whole[kImportance])),
      if_wanted(weights.importance_load, variation(whole[kLoad])),
      if_wanted(weights.z_loss, logits.logsumexp(-1).square().mean())};
  auto loss = nothing;
  for (const auto term : {kSwitchBatch, kSwitchSequence, kImportanceLoss, kLoadLoss, kZLoss})
    if (const auto weight = weights.weight_of(term); weight > 0)
      loss = loss + weight * terms[static_cast<std::size_t>(term)];
  const auto told = [](const at::Tensor& values) { return values.detach().to(at::kDouble); };
  return {loss, told(at::stack(terms)), told(sums)};
}

}  // namespace moe
