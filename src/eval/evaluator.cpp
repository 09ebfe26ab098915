#include "moe/eval/evaluator.h"

#include <ATen/core/grad_mode.h>
#include <ATen/ops/arange.h>
#include <ATen/ops/from_blob.h>
#include <ATen/ops/tensor.h>
#include <ATen/ops/zeros.h>
#include <ATen/ops/zeros_like.h>

#include <algorithm>
#include <cmath>
#include <span>
#include <stdexcept>

#include "moe/base/error.h"
#include "moe/base/random.h"
#include "moe/base/text.h"
#include "moe/data/windows.h"
#include "moe/eval/inspect.h"

namespace moe {

namespace {

// Windows and tokens of one forward at most. Constants, so that sums round alike in every run.
constexpr std::int64_t kMaxWindows = 32;
constexpr std::int64_t kMaxTokens = 8192;

using Offsets = std::span<const std::int64_t>;

/// (B, T) int64 on `device`.
at::Tensor ids_tensor(std::vector<std::int64_t>& ids, std::int64_t batch, at::Device device) {
  const auto time = static_cast<std::int64_t>(ids.size()) / batch;
  return at::from_blob(ids.data(), {batch, time}, at::kLong).to(device, at::kLong, false, true);
}

/// Sums losses and expert loads over forwards.
class Evaluation {
 public:
  Evaluation(SparseMoELanguageModel& model, const Tokens& tokens, std::uint64_t key,
             const StopRequest& stop, RoutingTallies* routing)
      : model_(model),
        tokens_(tokens),
        key_(key),
        stop_(stop),
        routing_(routing),
        device_(model->parameters().front().device()),
        load_(at::zeros({static_cast<std::int64_t>(model->spec().layers.size()),
                         model->spec().layers.front().feed_forward.experts},
                        at::kLong)) {}

  /// Adds windows of `time` targets. `first_draw` < 0: their rows are keyed by absolute position;
  /// else by the number of the draw and the place in the window.
  /// `scored` > 0: of each window the last so many targets alone.
  void add(Offsets offsets, std::int64_t time, std::int64_t first_draw, std::int64_t scored = 0) {
    const auto most = evaluation_windows(time);
    workspace_.reserve(model_->planned_memory(most, time, /*training=*/false));
    for (std::size_t i = 0; i < offsets.size(); i += static_cast<std::size_t>(most)) {
      const auto count = std::min(static_cast<std::size_t>(most), offsets.size() - i);
      const auto draw = first_draw < 0 ? first_draw : first_draw + static_cast<std::int64_t>(i);
      add_batch(offsets.subspan(i, count), time, draw, scored > 0 ? scored : time);
    }
  }

  EvalResult result() const {
    EvalResult out;
    out.loss = sum_ / static_cast<double>(targets_);
    out.tokens = targets_;
    if (!std::isfinite(out.loss))
      throw NumericsError(cat("evaluation: the loss is ", out.loss,
                              "; the weights have diverged, use an earlier checkpoint"));
    const auto fractions = (load_.to(at::kDouble) / load_.sum(1, /*keepdim=*/true)).contiguous();
    const auto* values = fractions.const_data_ptr<double>();
    for (std::int64_t layer = 0; layer < fractions.size(0); ++layer, values += fractions.size(1))
      out.expert_load.emplace_back(values, values + fractions.size(1));
    return out;
  }

 private:
  void add_batch(Offsets offsets, std::int64_t time, std::int64_t first_draw, std::int64_t scored) {
    if (const int signal = stop_ ? stop_() : 0; signal != 0) throw Interrupted(signal);
    auto windows = gather_windows(tokens_, offsets, time);
    const auto batch = static_cast<std::int64_t>(offsets.size());
    workspace_.reset();
    auto context = first_draw < 0 ? split_context(offsets, time)
                                  : make_context(batch, time, /*training=*/false, key_, first_draw);
    context.workspace = &workspace_;
    context.keeps_routing = routing_ != nullptr;
    context.keeps_logits = false;
    for (std::int64_t window = 0; window < batch; ++window)
      std::fill_n(windows.targets.begin() + window * time, time - scored, kNoTarget);
    const auto out = model_->forward(ids_tensor(windows.inputs, batch, device_),
                                     ids_tensor(windows.targets, batch, device_), context);
    sum_ += out.loss.item<double>() * static_cast<double>(batch * scored);
    targets_ += batch * scored;
    load_ += out.expert_load;
    if (routing_ != nullptr) add_routing(*routing_, windows.inputs, out.routing);
  }

  /// Rows of one long sequence, the split: a token's draws do not depend on how windows are cut.
  ForwardContext split_context(Offsets offsets, std::int64_t time) const {
    ForwardContext context;
    context.key = key_;
    const auto starts = at::tensor(at::ArrayRef<std::int64_t>(offsets.data(), offsets.size()));
    context.rows.position = (starts.unsqueeze(1) + at::arange(time, at::kLong)).flatten();
    context.rows.sequence = at::zeros_like(context.rows.position);
    return context;
  }

  SparseMoELanguageModel& model_;
  const Tokens& tokens_;
  std::uint64_t key_;
  const StopRequest& stop_;
  RoutingTallies* routing_;
  at::Device device_;
  at::Tensor load_;  // (L, E) int64
  kernels::Workspace workspace_;
  double sum_ = 0;  // [nats]
  std::int64_t targets_ = 0;
};

/// Where the whole windows to evaluate begin: all, or `most` spread evenly.
std::vector<std::int64_t> spread_offsets(std::int64_t windows, std::int64_t most,
                                         std::int64_t block) {
  std::vector<std::int64_t> offsets;
  offsets.reserve(static_cast<std::size_t>(most));
  for (std::int64_t i = 0; i < most; ++i) offsets.push_back(i * windows / most * block);
  return offsets;
}

void require_length(const Tokens& tokens, std::int64_t least) {
  if (static_cast<std::int64_t>(tokens.size()) < least)
    throw DataError(
        cat("evaluation: the text has ", tokens.size(), " symbols; it needs at least ", least));
}

}  // namespace

std::int64_t evaluation_windows(std::int64_t time) {
  return std::clamp(kMaxTokens / time, std::int64_t{1}, kMaxWindows);
}

EvalResult evaluate_full(SparseMoELanguageModel& model, const Tokens& tokens, std::uint64_t key,
                         std::int64_t max_windows, const StopRequest& stop,
                         RoutingTallies* routing) {
  require_length(tokens, 2);
  const at::NoGradGuard no_grad;
  const auto block = model->spec().context;
  const auto targets = static_cast<std::int64_t>(tokens.size()) - 1;
  const auto whole = targets / block, rest = targets % block;
  const bool all = max_windows <= 0 || max_windows >= whole + (rest > 0 ? 1 : 0);
  Evaluation evaluation(model, tokens, key, stop, routing);
  evaluation.add(spread_offsets(whole, all ? whole : max_windows, block), block, -1);
  if (const auto last = whole * block; all && rest > 0) evaluation.add({&last, 1}, rest, -1);
  return evaluation.result();
}

EvalResult evaluate_strided(SparseMoELanguageModel& model, const Tokens& tokens, std::uint64_t key,
                            std::int64_t stride, const StopRequest& stop,
                            RoutingTallies* routing) {
  const auto block = model->spec().context;
  const auto targets = static_cast<std::int64_t>(tokens.size()) - 1;
  if (targets <= block || stride == block)
    return evaluate_full(model, tokens, key, 0, stop, routing);
  const at::NoGradGuard no_grad;
  Evaluation evaluation(model, tokens, key, stop, routing);
  std::vector<std::int64_t> offsets{0};
  evaluation.add(offsets, block, -1);
  offsets.clear();
  for (auto offset = stride; offset + block <= targets; offset += stride) offsets.push_back(offset);
  evaluation.add(offsets, block, -1, stride);
  const std::int64_t last = targets - block, rest = last % stride;
  if (rest > 0) evaluation.add({&last, 1}, block, -1, rest);
  return evaluation.result();
}

EvalResult evaluate_random(SparseMoELanguageModel& model, const Tokens& tokens, std::uint64_t key,
                           std::int64_t eval_iters, std::int64_t batch_size,
                           const StopRequest& stop, RoutingTallies* routing) {
  const auto block = model->spec().context;
  require_length(tokens, block + 1);
  if (eval_iters < 1 || batch_size < 1) throw std::logic_error("evaluate_random: no windows");
  const at::NoGradGuard no_grad;
  Generator draws(stream_key(key, "windows"));
  const auto starts = static_cast<std::uint64_t>(tokens.size()) - static_cast<std::uint64_t>(block);
  Evaluation evaluation(model, tokens, key, stop, routing);
  const auto windows = eval_iters * batch_size, most = evaluation_windows(block);
  std::vector<std::int64_t> offsets;  // of one forward: all of them might be more than memory holds
  for (std::int64_t first = 0; first < windows; first += most) {
    offsets.resize(static_cast<std::size_t>(std::min(most, windows - first)));
    for (auto& offset : offsets) offset = static_cast<std::int64_t>(draws.below(starts));
    evaluation.add(offsets, block, first);
  }
  return evaluation.result();
}

}  // namespace moe
