#include "moe/eval/likeness.h"

#include <ATen/ATen.h>
#include <ATen/core/grad_mode.h>

#include <algorithm>

#include "eval/loss_mean.h"
#include "moe/base/error.h"

namespace moe {

namespace {

constexpr std::int64_t kWidthOverRank = 8;

at::Tensor on_cpu(const at::Tensor& tensor) {
  return tensor.detach().to(at::kCPU, at::kDouble).contiguous();
}

std::vector<double> list_of(const at::Tensor& vector) {  // (n) double on the CPU
  const auto values = vector.contiguous();
  const auto* data = values.const_data_ptr<double>();
  return {data, data + values.numel()};
}

std::vector<std::vector<double>> rows_of(const at::Tensor& matrix) {
  std::vector<std::vector<double>> rows;
  for (std::int64_t i = 0; i < matrix.size(0); ++i) rows.push_back(list_of(matrix[i]));
  return rows;
}

/// (E, E) of rows (E, C); a row of zeros is like none, itself included.
at::Tensor cosines(const at::Tensor& rows) {
  constexpr double kSmallest = 1e-300;  // no division by 0
  const auto units = rows / rows.norm(2, 1, /*keepdim=*/true).clamp_min(kSmallest);
  return units.matmul(units.t());
}

/// (E, E) of down projections (E, C, F).
at::Tensor overlaps(const at::Tensor& down, std::int64_t rank) {
  const auto experts = down.size(0);
  std::vector<at::Tensor> bases;  // one by one: equal experts have equal ones
  for (std::int64_t e = 0; e < experts; ++e) {
    const auto left = std::get<0>(at::linalg_svd(down[e], /*full_matrices=*/false));
    bases.push_back(left.narrow(1, 0, rank));
  }
  auto out = at::empty({experts, experts}, at::kDouble);
  for (std::int64_t i = 0; i < experts; ++i)
    for (std::int64_t j = i; j < experts; ++j) {
      const auto share = bases[static_cast<std::size_t>(i)]
                             .t()
                             .matmul(bases[static_cast<std::size_t>(j)])
                             .square()
                             .sum() /
                         static_cast<double>(rank);
      out[i][j] = share;
      out[j][i] = share;
    }
  return out;
}

/// Sums over the tokens that chose each expert of one layer.
struct OutputSums {
  explicit OutputSums(std::int64_t experts)
      : tokens(at::zeros({experts}, at::kLong)),
        norms(at::zeros({experts}, at::kDouble)),
        weighted(at::zeros({experts}, at::kDouble)) {}

  /// x (N, C) is what the experts take in.
  void add(SparseMoEImpl& mixture, const at::Tensor& x, const Routing& routing) {
    for (std::int64_t e = 0; e < tokens.size(0); ++e) {
      const auto slots = (routing.experts == e).nonzero();  // (n, 2): token, choice
      if (slots.size(0) == 0) continue;
      const auto rows = slots.select(1, 0), choices = slots.select(1, 1);
      const auto answers = mixture.answer(e, x.index_select(0, rows));
      const auto norm = on_cpu(answers).norm(2, 1);
      const auto gates = on_cpu(routing.gates.index({rows, choices}));
      tokens[e] += slots.size(0);
      norms[e] += norm.sum();
      weighted[e] += (norm * gates).sum();
    }
  }

  at::Tensor tokens, norms, weighted;  // (E)
};

/// What no token of the text needs may be broken too, and has no directions then.
void require_finite(const at::Tensor& weights) {
  if (!weights.isfinite().all().item<bool>())
    throw NumericsError(
        "similarity: a weight is not finite; the weights have diverged, use an earlier checkpoint");
}

ExpertLikeness likeness_of(SparseMoEImpl& mixture, const OutputSums& sums) {
  if (!mixture.spec().has_router()) return {};
  // The shared experts come last: no router tells them from others.
  const auto down = on_cpu(mixture.weights().w2.narrow(0, 0, mixture.spec().experts)),
             route = on_cpu(mixture.route().weight);
  require_finite(down);
  require_finite(route);
  ExpertLikeness out;
  out.rank = std::clamp(down.size(1) / kWidthOverRank, std::int64_t{1},
                        std::min(down.size(1), down.size(2)));
  out.router_cosine = rows_of(cosines(route));
  out.output_overlap = rows_of(overlaps(down, out.rank));
  const auto* counts = sums.tokens.const_data_ptr<std::int64_t>();
  out.tokens.assign(counts, counts + sums.tokens.numel());
  out.output_norm = list_of(sums.norms / sums.tokens);
  out.reap = list_of(sums.weighted / sums.tokens);
  return out;
}

}  // namespace

std::vector<ExpertLikeness> expert_likeness(SparseMoELanguageModel& model, TokenView tokens,
                                            const SplitRequest& request) {
  const at::NoGradGuard no_grad;
  std::vector<OutputSums> sums;
  for (const auto& layer : model->spec().layers) sums.emplace_back(layer.feed_forward.experts);
  for_each_batch(model, tokens, request, [&](const SplitBatch& batch) {
    auto context = batch.context;
    context.keeps_routing = true;
    SkipSources skips;
    auto x = model->enter(batch.ids, context, skips);
    for (std::size_t layer = 0; layer < sums.size(); ++layer) {
      const auto number = static_cast<std::int64_t>(layer);
      const auto entry = model->attend(number, x, context, skips);
      const auto mixed = model->mix(number, entry, context);
      auto& block = model->block(number);
      sums[layer].add(block.smoe(), block.mixture_input(entry).flatten(0, 1), mixed.routing);
      x = mixed.y;
    }
    // With weights that are not finite nothing above means anything.
    require_finite_loss(model->finish(x, batch.targets, context).loss.item<double>());
  });
  std::vector<ExpertLikeness> layers;
  for (std::size_t layer = 0; layer < sums.size(); ++layer)
    layers.push_back(
        likeness_of(model->block(static_cast<std::int64_t>(layer)).smoe(), sums[layer]));
  return layers;
}

}  // namespace moe
