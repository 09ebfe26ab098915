#include "moe/eval/saturation.h"

#include <ATen/ATen.h>
#include <ATen/core/grad_mode.h>

#include <algorithm>
#include <limits>
#include <span>

#include "eval/loss_mean.h"

namespace moe {

namespace {

/// The sum over tokens of the margin in logits (N, E).
double margin_sum(const at::Tensor& logits, std::int64_t top_k) {
  if (top_k == logits.size(1)) return std::numeric_limits<double>::quiet_NaN();
  const auto largest = std::get<0>(logits.to(at::kCPU, at::kDouble).topk(top_k + 1, 1));
  return (largest.select(1, top_k - 1) - largest.select(1, top_k)).sum().item<double>();
}

void append(std::vector<std::int32_t>& to, const at::Tensor& experts) {
  const auto values = experts.to(at::kCPU, at::kInt).contiguous();
  const auto* data = values.const_data_ptr<std::int32_t>();
  to.insert(to.end(), data, data + values.numel());
}

}  // namespace

SplitChoices split_choices(SparseMoELanguageModel& model, TokenView tokens,
                           const SplitRequest& request) {
  const at::NoGradGuard no_grad;
  const auto& layers = model->spec().layers;
  SplitChoices out;
  for (const auto& layer : layers) out.top_k = std::max(out.top_k, layer.feed_forward.top_k);
  out.experts.resize(layers.size());
  out.margin.resize(layers.size());
  for_each_batch(model, tokens, request, [&](const SplitBatch& batch) {
    auto context = batch.context;
    context.keeps_routing = true;
    const auto kept = model->forward(batch.ids, batch.targets, context);
    require_finite_loss(kept.loss.item<double>());
    for (std::size_t layer = 0; layer < layers.size(); ++layer) {
      append(out.experts[layer], kept.routing[layer].experts);
      out.margin[layer] += layers[layer].feed_forward.has_router()
                               ? margin_sum(kept.routing[layer].logits, out.top_k)
                               : std::numeric_limits<double>::quiet_NaN();
    }
    out.tokens += batch.ids.numel();
  });
  for (auto& margin : out.margin) margin /= static_cast<double>(out.tokens);
  return out;
}

std::vector<double> shared_choices(const SplitChoices& a, const SplitChoices& b) {
  TORCH_CHECK(a.top_k == b.top_k && a.tokens == b.tokens, "choices of different splits");
  const auto k = static_cast<std::size_t>(a.top_k);
  std::vector<double> shares;
  for (std::size_t layer = 0; layer < a.experts.size(); ++layer) {
    const std::span mine(a.experts[layer]), other(b.experts[layer]);
    std::int64_t shared = 0;
    for (std::size_t n = 0; n < mine.size(); n += k)
      for (const auto expert : mine.subspan(n, k)) {
        const auto theirs = other.subspan(n, k);
        shared += std::count(theirs.begin(), theirs.end(), expert);
      }
    shares.push_back(static_cast<double>(shared) / static_cast<double>(mine.size()));
  }
  return shares;
}

}  // namespace moe
