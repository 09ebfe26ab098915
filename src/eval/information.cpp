#include "moe/eval/information.h"

#include <ATen/core/grad_mode.h>

#include <algorithm>
#include <cmath>
#include <limits>

#include "eval/loss_mean.h"

namespace moe {

namespace {

/// Entropy of counts that sum to `total` [nats].
template <class Counts>
double entropy_of(const Counts& counts, double total) {
  if (counts.size() == 1) return 0;  // which rounding need not give
  std::vector<std::int64_t> sorted;  // a sum's order must not depend on a hash
  for (const auto& [value, count] : counts) sorted.push_back(count);
  std::sort(sorted.begin(), sorted.end());
  double sum = 0;  // of n ln n
  for (const auto count : sorted)
    sum += static_cast<double>(count) * std::log(static_cast<double>(count));
  return std::log(total) - sum / total;
}

/// The pairs of one layer.
struct LayerCounts {
  PairCounts symbol, previous, next, position;

  void add(const SplitBatch& batch, const at::Tensor& first_choices) {
    const auto chosen = first_choices.to(at::kCPU, at::kLong).contiguous();
    const auto* experts = chosen.const_data_ptr<std::int64_t>();
    const auto& [batch_size, time, inputs, targets, offsets] = batch.windows;
    for (std::size_t n = 0; n < inputs.size(); ++n) {
      const auto expert = experts[n];
      const auto t = static_cast<std::int64_t>(n) % time;
      symbol.add(expert, inputs[n]);
      if (t > 0) previous.add(expert, inputs[n - 1]);
      next.add(expert, targets[n]);
      position.add(expert, t);
    }
  }
};

}  // namespace

double Information::share() const {
  if (!(entropy > 0)) return std::numeric_limits<double>::quiet_NaN();
  return std::clamp(information / entropy, 0.0, 1.0);
}

void PairCounts::add(std::int64_t expert, std::int64_t value) {
  constexpr unsigned kExpertBits = 32;
  ++pairs_[static_cast<std::uint64_t>(value) << kExpertBits | static_cast<std::uint64_t>(expert)];
  ++experts_[expert];
  ++values_[value];
  ++tokens_;
}

Information PairCounts::information() const {
  const auto total = static_cast<double>(tokens_);
  const auto correction = [&](const auto& counts) {
    return (static_cast<double>(counts.size()) - 1) / (2 * total);
  };
  Information out;
  out.tokens = tokens_;
  const auto of_expert = entropy_of(experts_, total);
  out.entropy = of_expert + correction(experts_);
  const auto plug_in = of_expert + entropy_of(values_, total) - entropy_of(pairs_, total);
  out.bias = correction(pairs_) - correction(experts_) - correction(values_);
  out.information = std::max(plug_in - out.bias, 0.0);
  return out;
}

std::vector<RoutingInformation> routing_information(SparseMoELanguageModel& model, TokenView tokens,
                                                    const SplitRequest& request) {
  const at::NoGradGuard no_grad;
  std::vector<LayerCounts> counts(model->spec().layers.size());
  for_each_batch(model, tokens, request, [&](const SplitBatch& batch) {
    auto context = batch.context;
    context.keeps_routing = true;
    const auto out = model->forward(batch.ids, batch.targets, context);
    require_finite_loss(out.loss.item<double>());
    for (std::size_t layer = 0; layer < counts.size(); ++layer)
      if (model->spec().layers[layer].feed_forward.has_router())
        counts[layer].add(batch, out.routing[layer].experts.select(1, 0));
  });
  std::vector<RoutingInformation> layers;
  for (const auto& [symbol, previous, next, position] : counts)
    layers.push_back(
        {symbol.information(), previous.information(), next.information(), position.information()});
  return layers;
}

}  // namespace moe
