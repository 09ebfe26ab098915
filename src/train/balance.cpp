#include "train/balance.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <limits>
#include <numeric>
#include <vector>

namespace moe {

namespace {

std::int64_t index(SideTerm term) { return static_cast<std::int64_t>(term); }

bool sums_routing(const LayerSpec& layer) {
  const auto& balance = layer.feed_forward.balance;
  return balance.has_losses() || balance.has_bias();
}

}  // namespace

at::Tensor make_update_sums(const ModelSpec& spec, at::Device device) {
  if (std::ranges::none_of(spec.layers, sums_routing)) return {};
  const auto layers = static_cast<std::int64_t>(spec.layers.size());
  return at::zeros({layers, kBalanceSums, spec.most_experts()},
                   at::TensorOptions(device).dtype(at::kDouble));
}

void add_sums(const LmOutput& batch, const at::Tensor& to) {
  for (std::size_t layer = 0; layer < batch.side.size(); ++layer)
    if (const auto& sums = batch.side[layer].sums; sums.defined())
      to.select(0, static_cast<std::int64_t>(layer)).add_(sums);
}

void add_side_terms(const LmOutput& batch, const ModelSpec& spec, std::int64_t batches,
                    SideMeans& means) {
  for (const auto term : {kSwitchBatch, kSwitchSequence, kImportanceLoss, kLoadLoss, kZLoss}) {
    double sum = 0, layers = 0;
    for (std::size_t layer = 0; layer < batch.side.size(); ++layer) {
      if (spec.layers[layer].feed_forward.balance.weight_of(term) == 0) continue;
      sum += batch.side[layer].terms.cpu().const_data_ptr<double>()[index(term)];
      layers += 1;
    }
    auto& mean = means[static_cast<std::size_t>(term)];
    mean += layers > 0 ? sum / layers / static_cast<double>(batches)
                       : std::numeric_limits<double>::quiet_NaN();
  }
}

void move_balance_biases(TrainState& state) {
  const auto& layers = state.model->spec().layers;
  for (std::size_t layer = 0; layer < layers.size(); ++layer) {
    const auto& spec = layers[layer].feed_forward;
    if (!spec.balance.has_bias()) continue;
    const auto number = static_cast<std::int64_t>(layer);
    const auto sums = state.update_sums[number][kChoices].cpu();
    const auto* counts = sums.const_data_ptr<double>();
    const auto all = std::accumulate(counts, counts + spec.experts, 0.0);
    const auto rate = static_cast<float>(spec.balance.bias_rate);
    std::vector<float> step;
    for (std::int64_t e = 0; e < spec.experts; ++e) {
      // Whole numbers, so that an even load is even.
      const auto lack = all - counts[e] * static_cast<double>(spec.experts);
      step.push_back(lack > 0 ? rate : lack < 0 ? -rate : 0);
    }
    auto bias = state.model->balance_bias(number);
    bias.add_(at::from_blob(step.data(), {spec.experts}, at::kFloat).to(bias.device()));
  }
}

void move_balance_biases(TrainState& state, const kernels::UpdateMemory& memory) {
  const auto& layers = state.model->spec().layers;
  for (std::size_t layer = 0; layer < layers.size(); ++layer) {
    const auto& spec = layers[layer].feed_forward;
    if (!spec.balance.has_bias()) continue;
    const auto number = static_cast<std::int64_t>(layer);
    const auto counts = state.update_sums[number][kChoices].narrow(0, 0, spec.experts);
    const auto lack = counts.sum() - counts * spec.experts;
    const auto bias = state.model->balance_bias(number);
    memory.keep(bias, bias + lack.sign().to(at::kFloat) * spec.balance.bias_rate);
  }
}

}  // namespace moe
