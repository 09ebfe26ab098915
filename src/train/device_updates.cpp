#include "moe/train/device_updates.h"

#include <ATen/ATen.h>
#include <ATen/Context.h>
#include <ATen/core/grad_mode.h>

#include <algorithm>
#include <limits>

#include "moe/base/random.h"
#include "train/balance.h"
#include "train/recording.h"
#include "train/step_parts.h"

namespace moe {

namespace {

/// Memory of the host for what `device` copies while the host goes on.
at::Tensor staging(at::IntArrayRef sizes, at::ScalarType type, at::Device device) {
  return at::empty(sizes, at::TensorOptions(type).pinned_memory(device.is_cuda()));
}

/// Of windows [first, first + B) of an update.
kernels::RowIds rows_of(std::int64_t first, std::int64_t batch, std::int64_t time,
                        at::Device device) {
  const auto options = at::TensorOptions(device).dtype(at::kLong);
  return {at::arange(first, first + batch, options).repeat_interleave(time),
          at::arange(time, options).repeat({batch})};
}

/// While one lives, libtorch takes its usual operations on a GPU, where its deterministic mode
/// would sort before each scatter and fill all memory that is not written yet. A pass repeats bit
/// for bit without it: it scatters to distinct places, or to one that nobody reads.
class UsualOperations {
 public:
  explicit UsualOperations(at::Device device)
      : was_(at::globalContext().deterministicAlgorithms()) {
    if (device.is_cuda()) set(false);
  }
  ~UsualOperations() { set(was_); }
  UsualOperations(const UsualOperations&) = delete;
  UsualOperations& operator=(const UsualOperations&) = delete;

 private:
  static void set(bool on) { at::globalContext().setDeterministicAlgorithms(on, false); }
  bool was_;
};

}  // namespace

DeviceUpdates::DeviceUpdates(TrainState& state, bool records)
    : state_(state), recorder_(records ? Recorder::on(state.device) : nullptr) {
  const auto& train = state.config.train;
  const auto parts = train.grad_accumulation, batch = train.batch_size,
             time = state.config.model.block_size, size = batch * time;
  const auto& spec = state.model->spec();
  const auto layers = static_cast<std::int64_t>(spec.layers.size());
  const auto on_device = at::TensorOptions(state.device);
  inputs_ = at::zeros({2 * parts * size + 1}, on_device.dtype(at::kLong));
  key_ = inputs_.narrow(0, 2 * parts * size, 1);
  for (std::int64_t part = 0; part < parts; ++part) {
    const auto piece = [&](std::int64_t number) {
      return inputs_.narrow(0, number * size, size).view({batch, time});
    };
    batches_.push_back(
        {piece(2 * part), piece(2 * part + 1), rows_of(part * batch, batch, time, state.device)});
  }
  memory_.values = at::ones({kernels::kUpdateValues}, on_device.dtype(at::kDouble));
  share_ = at::full({}, 1 / static_cast<double>(parts), on_device.dtype(at::kFloat));
  for (auto* figure : {&figures_.loss, &figures_.norm, &figures_.sound})
    *figure = at::zeros({}, on_device.dtype(at::kDouble));
  terms_ = at::zeros({layers, kSideTerms}, on_device.dtype(at::kDouble));
  served_ = at::zeros({layers, spec.most_experts()}, on_device.dtype(at::kLong));
}

DeviceUpdates::~DeviceUpdates() = default;

bool DeviceUpdates::suit(const TrainState& state) {
  return !state.device.is_cpu() && state.config.model.kernels == Kernels::fast;
}

void DeviceUpdates::start() {
  auto& at = state_.at;
  if (started_ == 0) {
    before_ = at;
    cursor_ = state_.sampler.state();
    averaged_before_ = state_.optimizer.averaged_steps;
  }
  const auto update = at.step + 1;
  const auto key = stream_key(static_cast<std::uint64_t>(state_.config.seed), "train",
                              static_cast<std::uint64_t>(update));
  send_inputs(key);
  send_schedule(update);
  auto& phase = phases_[state_.optimizer.phase_of(state_.optimizer.steps + 1)];
  const auto work = [&] { compute(key); };
  if (recorder_ && phase.is_warm && !phase.recording) phase.recording = recorder_->record(work);
  if (phase.recording)
    phase.recording->repeat();
  else if (recorder_)
    recorder_->warm_up(work);
  else
    work();
  phase.is_warm = true;
  count(update);
  ++started_;
}

void DeviceUpdates::count(std::int64_t update) {
  auto& optimizer = state_.optimizer;
  ++optimizer.steps;
  const bool is_averaged =
      is_averaged_at(state_.config.optim, state_.config.train.max_iters, update);
  optimizer.averaged_steps = is_averaged ? optimizer.averaged_steps + 1 : 0;
  state_.at.step = update;
  state_.at.tokens += tokens();
}

void DeviceUpdates::send_inputs(std::uint64_t key) {
  const auto host = staging(inputs_.sizes(), at::kLong, state_.device);
  auto* to = host.mutable_data_ptr<std::int64_t>();
  for (std::size_t part = 0; part < batches_.size(); ++part) {
    const auto batch = state_.sampler.next(state_.config.train.batch_size);
    to = std::ranges::copy(batch.inputs, to).out;
    to = std::ranges::copy(batch.targets, to).out;
  }
  *to = static_cast<std::int64_t>(key);
  inputs_.copy_(host, /*non_blocking=*/true);
}

void DeviceUpdates::send_schedule(std::int64_t update) {
  const auto& optim = state_.config.optim;
  const auto most = state_.config.train.max_iters;
  const auto host = staging({kernels::kGradientScale}, at::kDouble, state_.device);
  auto* values = host.mutable_data_ptr<double>();
  values[kernels::kLearningRate] = learning_rate_at(optim, most, update);
  values[kernels::kStep] = static_cast<double>(state_.optimizer.steps + 1);
  values[kernels::kMomentum] = momentum_at(optim, state_.optimizer.steps + 1);
  values[kernels::kDecayScale] = weight_decay_scale_at(optim, most, update);
  values[kernels::kAverageWeight] =
      state_.optimizer.average_weight(is_averaged_at(optim, most, update));
  memory_.values.narrow(0, 0, kernels::kGradientScale).copy_(host, /*non_blocking=*/true);
}

ForwardContext DeviceUpdates::context_of(const Batch& batch, std::uint64_t key) const {
  ForwardContext context;
  context.training = true;
  context.key = key;
  context.key_memory = key_;
  context.rows = batch.rows;
  if (state_.device.is_cpu()) context.workspace = &state_.workspace;
  context.keeps_logits = false;
  context.bfloat16 = state_.config.train.precision == Precision::bfloat16;
  return context;
}

void DeviceUpdates::compute(std::uint64_t key) {
  const UsualOperations on_device(state_.device);
  accumulate(key);
  const auto& optim = state_.config.optim;
  kernels::judge_update(state_.flat.gradients(),
                        optim.grad_clip.value_or(std::numeric_limits<double>::infinity()), figures_,
                        memory_);
  state_.optimizer.step_from_memory(state_.flat.trained(), state_.flat.gradients(),
                                    state_.optimizer.steps + 1, memory_);
  move_balance_biases(state_, memory_);
}

void DeviceUpdates::accumulate(std::uint64_t key) {
  state_.flat.ledger().begin_update();
  if (state_.update_sums.defined()) state_.update_sums.zero_();
  const bool ahead = looks_ahead(state_);
  if (ahead) sum_ahead(key);
  for (const auto& total : {figures_.loss, terms_, served_}) total.zero_();
  for (const auto& batch : batches_) {
    state_.workspace.reset();
    auto context = context_of(batch, key);
    context.gradients = &state_.flat.ledger();
    if (ahead) context.update_sums = state_.update_sums;
    const auto out = state_.model->forward(batch.ids, batch.targets, context);
    figures_.loss.add_(out.loss.detach(), 1 / static_cast<double>(batches_.size()));
    served_.add_(out.expert_load);
    if (!ahead) add_sums(out, state_.update_sums);
    for (std::size_t layer = 0; layer < out.side.size(); ++layer)
      if (const auto& terms = out.side[layer].terms; terms.defined())
        terms_.select(0, static_cast<std::int64_t>(layer)).add_(terms);
    backward(out, share_);
  }
  state_.flat.ledger().zero_unwritten();
}

void DeviceUpdates::sum_ahead(std::uint64_t key) {
  const at::NoGradGuard no_grad;
  for (const auto& batch : batches_) {
    state_.workspace.reset();
    add_sums(state_.model->forward(batch.ids, batch.targets, context_of(batch, key)),
             state_.update_sums);
  }
}

StepResult DeviceUpdates::read() {
  const auto sound = figures_.sound.item<std::int64_t>();
  figures_.sound.zero_();
  const auto started = started_;
  started_ = 0;
  if (sound < started) return take_back(sound);
  StepResult result;
  result.loss = figures_.loss.item<double>();
  result.grad_norm = figures_.norm.item<double>();
  result.learning_rate = memory_[kernels::kLearningRate].item<double>();
  result.tokens = tokens();
  const auto& spec = state_.model->spec();
  if (state_.config.model.moe.capacity_factor) note_dropped(served_.cpu(), spec, result);
  LmOutput told;
  for (const auto& terms : terms_.cpu().unbind()) told.side.push_back({.terms = terms});
  add_side_terms(told, spec, static_cast<std::int64_t>(batches_.size()), result.side_terms);
  result.tokens *= started;
  return result;
}

StepResult DeviceUpdates::take_back(std::int64_t sound) {
  state_.optimizer.steps -= state_.at.step - before_.step;
  state_.optimizer.averaged_steps = averaged_before_;
  state_.at = before_;
  state_.sampler.restore(cursor_);
  for (std::int64_t update = 1; update <= sound; ++update) {
    for (std::size_t part = 0; part < batches_.size(); ++part)
      state_.sampler.next(state_.config.train.batch_size);
    count(before_.step + update);
  }
  memory_[kernels::kIsSound].fill_(1);
  return train_step(state_);
}

}  // namespace moe
