#include <ATen/ATen.h>
#include <ATen/core/grad_mode.h>

#include <algorithm>
#include <cmath>
#include <limits>

#include "moe/base/random.h"
#include "moe/base/system.h"
#include "moe/train/state.h"
#include "train/balance.h"
#include "train/batch_tensors.h"
#include "train/step_parts.h"

namespace moe {

namespace {

Json finite_or_text(double value) {
  return std::isfinite(value) ? Json(value) : Json(std::isnan(value) ? "NaN" : "Infinity");
}

/// Adds the time between two of its calls to one part after another [s].
class Laps {
 public:
  void end(double& part) {
    const auto now = monotonic_seconds();
    part += now - last_;
    last_ = now;
  }

 private:
  double last_ = monotonic_seconds();
};

/// What to look at when a loss or gradient is not finite.
Json nonfinite_record(const TrainState& state, double loss, const Json& offsets) {
  Json norms = Json::object();
  for (const auto& tensor : state.flat.trained_layout()) {
    const auto gradient = FlatParameters::view(state.flat.gradients(), tensor);
    norms[tensor.name] = finite_or_text(gradient.to(at::kDouble).norm().item<double>());
  }
  return {{"step", state.at.step + 1},
          {"loss", finite_or_text(loss)},
          {"batch_offsets", offsets},
          {"gradient_norms", norms}};
}

/// Where the windows of the update that began at `cursor` begin, a list a batch. They are drawn
/// again, since an update of many batches has more of them than should be held at each.
Json windows_from(const Json& cursor, TrainState& state) {
  state.sampler.restore(cursor);
  Json offsets = Json::array();
  for (std::int64_t micro = 0; micro < state.config.train.grad_accumulation; ++micro)
    offsets.push_back(state.sampler.next(state.config.train.batch_size).offsets);
  return offsets;
}

/// The share of `slots` that `served`, what the experts took, falls short of.
double share_dropped(const at::Tensor& served, std::int64_t slots) {
  return static_cast<double>(slots - served.sum().item<std::int64_t>()) /
         static_cast<double>(slots);
}

/// What a forward of one batch of an update reads. Without the logits.
ForwardContext training_context(TrainState& state, std::uint64_t key, std::int64_t micro,
                                const Batch& batch) {
  auto context = make_context(batch.batch_size, batch.block_size, /*training=*/true, key,
                              micro * batch.batch_size, /*first_position=*/0, &state.workspace);
  context.keeps_logits = false;
  context.bfloat16 = state.config.train.precision == Precision::bfloat16;
  return context;
}

/// state.update_sums of the update that begins here: a forward of each of its batches, with the
/// draws that the update will make, and without gradients. A running count over batches would
/// weigh them unlike.
void sum_ahead(TrainState& state, std::uint64_t key) {
  const at::NoGradGuard no_grad;
  auto sampler = state.sampler;
  for (std::int64_t micro = 0; micro < state.config.train.grad_accumulation; ++micro) {
    const auto batch = sampler.next(state.config.train.batch_size);
    state.workspace.reset();
    const auto tensors = to_tensors(batch, state.device, state.workspace);
    const auto context = training_context(state, key, micro, batch);
    add_sums(state.model->forward(tensors.inputs, tensors.targets, context), state.update_sums);
  }
}

/// Averages the gradients of one update over its batches, and notes their loss, tokens and time.
/// Returns the tokens that each expert served, (L, E), where a capacity is set; else undefined.
at::Tensor accumulate_gradients(TrainState& state, std::uint64_t key, StepResult& result,
                                Laps& laps) {
  const auto& config = state.config;
  double loss_sum = 0;
  at::Tensor served;
  state.flat.ledger().begin_update();
  if (state.update_sums.defined()) state.update_sums.zero_();
  const bool ahead = looks_ahead(state);
  if (ahead) {
    sum_ahead(state, key);
    laps.end(result.seconds.forward);
  }
  for (std::int64_t micro = 0; micro < config.train.grad_accumulation; ++micro) {
    const auto batch = state.sampler.next(config.train.batch_size);
    state.workspace.reset();
    const auto tensors = to_tensors(batch, state.device, state.workspace);
    auto context = training_context(state, key, micro, batch);
    context.gradients = &state.flat.ledger();
    if (ahead) context.update_sums = state.update_sums;
    laps.end(result.seconds.data);
    const auto out = state.model->forward(tensors.inputs, tensors.targets, context);
    loss_sum += out.loss.item<double>();
    if (config.model.moe.capacity_factor)  // a copy: the load is memory of this batch's workspace
      served = served.defined() ? served + out.expert_load : out.expert_load.clone();
    if (!ahead) add_sums(out, state.update_sums);
    add_side_terms(out, state.model->spec(), config.train.grad_accumulation, result.side_terms);
    laps.end(result.seconds.forward);
    // Not the backward of (loss / n): its tensors would be memory of their own in each step.
    const auto share = state.workspace.take({}, at::kFloat)
                           .fill_(1 / static_cast<double>(config.train.grad_accumulation));
    backward(out, share.to(state.device));
    result.tokens += batch.batch_size * batch.block_size;
    laps.end(result.seconds.backward);
  }
  state.flat.ledger().zero_unwritten();
  result.loss = loss_sum / static_cast<double>(config.train.grad_accumulation);
  return served;
}

}  // namespace

bool looks_ahead(const TrainState& state) {
  const auto needs = [](const LayerSpec& layer) {
    return layer.feed_forward.balance.needs_whole_update();
  };
  return state.config.train.grad_accumulation > 1 &&
         std::ranges::any_of(state.model->spec().layers, needs);
}

void note_dropped(const at::Tensor& served, const ModelSpec& spec, StepResult& result) {
  std::int64_t all = 0;
  for (std::size_t layer = 0; layer < spec.layers.size(); ++layer) {
    const auto slots = result.tokens * spec.layers[layer].feed_forward.top_k;
    all += slots;
    result.dropped_by_layer.push_back(
        slots > 0 ? share_dropped(served[static_cast<std::int64_t>(layer)], slots)
                  : std::numeric_limits<double>::quiet_NaN());
  }
  result.dropped_fraction = share_dropped(served, all);
}

BatchTensors to_tensors(const Batch& batch, at::Device device, kernels::Workspace& workspace) {
  const auto tensor = [&](const std::vector<std::int64_t>& values) {
    const auto copy = workspace.take({batch.batch_size, batch.block_size}, at::kLong);
    std::ranges::copy(values, copy.mutable_data_ptr<std::int64_t>());
    return copy.to(device);
  };
  return {tensor(batch.inputs), tensor(batch.targets)};
}

StepResult train_step(TrainState& state) {
  const auto& config = state.config;
  const auto update = state.at.step + 1;
  const auto key = stream_key(static_cast<std::uint64_t>(config.seed), "train",
                              static_cast<std::uint64_t>(update));
  StepResult result;
  Laps laps;
  const auto cursor = state.sampler.state();
  const auto served = accumulate_gradients(state, key, result, laps);
  const auto refuse = [&] {
    const auto offsets = windows_from(cursor, state);
    state.sampler.restore(cursor);  // nothing was learned from these windows
    throw NonFinite{nonfinite_record(state, result.loss, offsets)};
  };
  if (!std::isfinite(result.loss)) refuse();
  // The norm is also the guard: one pass over the gradients finds any value that is not finite.
  result.grad_norm = l2_norm(state.flat.gradients());
  if (!std::isfinite(result.grad_norm)) refuse();
  const auto clip = config.optim.grad_clip.value_or(std::numeric_limits<double>::infinity());
  result.learning_rate = learning_rate_at(config.optim, config.train.max_iters, update);
  state.optimizer.step(state.flat.trained(), state.flat.gradients(), result.learning_rate,
                       {clip_scale(result.grad_norm, clip),
                        weight_decay_scale_at(config.optim, config.train.max_iters, update)});
  state.optimizer.average(state.flat.trained(),
                          is_averaged_at(config.optim, config.train.max_iters, update));
  move_balance_biases(state);
  laps.end(result.seconds.update);
  if (served.defined()) note_dropped(served.cpu(), state.model->spec(), result);
  state.at.step = update;
  state.at.tokens += result.tokens;
  return result;
}

}  // namespace moe
