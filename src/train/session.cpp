#include <ATen/Parallel.h>

#include <array>

#include "moe/base/interrupt.h"
#include "moe/base/text.h"
#include "train/loop.h"

// How a session of a run begins, from other weights or a checkpoint, and how it ends.

namespace moe {

void Loop::begin_with(const at::Tensor& weights) {
  state_.flat.values().copy_(weights);
  save();  // a resume finds them, also where it does not name them
}

void Loop::resume_from(const CheckpointInfo& info) {
  const auto where = (info.ref.folder / "state.json").string();
  const auto facts = read_facts(info.state, where);
  moe::load_weights(info.ref, state_.flat);
  load_optimizer(info.ref, state_.flat, state_.optimizer);
  restore_state(info.state, where, state_);
  seconds_before_ = facts.seconds;
  warn_of_changes(info, facts);
  saved_step_ = state_.at.step;
  verified_.insert(state_.at.step);
  const bool evaluated = state_.at.evaluated_step == state_.at.step;
  for (const auto& notice : folder_.cut_back_to(state_.at.step, evaluated)) log_.warn(notice);
}

void Loop::warn_of_changes(const CheckpointInfo& info, const SavedFacts& facts) {
  const auto device = state_.device.str();
  // The fast kernels' bits do not depend on threads; libtorch's own, of the composed modules, do.
  const bool threads_matter =
      state_.device.is_cpu() && request_.config.model.kernels == Kernels::reference;
  if (facts.device != device || (threads_matter && facts.threads != at::get_num_threads()))
    log_.warn(cat("the run was on ", facts.device, " with ", facts.threads, " threads, now ",
                  device, " with ", at::get_num_threads(), ": it continues, but not bit for bit"));
  const auto before = info.config.train.max_iters, now = request_.config.train.max_iters;
  const auto step = state_.at.step;
  if (now < before && now < step)
    log_.warn(cat("train.max_iters: ", now, " is below the step that the run has reached, ", step,
                  "; nothing more is trained"));
  if (step == 0 || step >= now) return;
  const auto& optim = request_.config.optim;
  const auto planned = learning_rate_at(optim, before, step + 1);
  const auto jumped = learning_rate_at(optim, now, step + 1);
  if (planned != jumped)
    log_.warn(cat("train.max_iters: ", now, ", ", before, " so far, moves the whole schedule: the ",
                  "learning rate of step ", step + 1, " jumps from ", planned, " to ", jumped));
}

bool Loop::is_recorded_as_finished() const {
  return finished() && recorded_.value("status", Json()) == "finished";
}

std::string_view name_of(EndedBy ended_by) {
  constexpr std::array<std::string_view, 4> kNames{"max_iters", "early_stopping", "stop_after",
                                                   "signal"};
  return kNames.at(static_cast<std::size_t>(ended_by));
}

EndedBy Loop::ended_by() const {
  if (evaluation_is_due() && interrupt_.signal() != 0) return EndedBy::signal;
  if (state_.at.step >= request_.config.train.max_iters) return EndedBy::max_iters;
  if (patience_is_out()) return EndedBy::early_stopping;
  return interrupt_.signal() != 0 ? EndedBy::signal : EndedBy::stop_after;
}

std::string Loop::end_text(const TrainSummary& done) const {
  const auto& train = request_.config.train;
  const auto at = cat("ended at step ", done.step, ": ");
  switch (done.ended_by) {
    case EndedBy::max_iters:
      return cat(at, "train.max_iters is ", train.max_iters,
                 "; to extend the run, resume it with a larger one");
    case EndedBy::early_stopping:
      return cat(at, "early stopping, train.early_stopping_patience is ",
                 *train.early_stopping_patience,
                 "; to extend the run, resume it with a larger one, or with null");
    case EndedBy::stop_after:
      return cat(at, "--stop-after asked for it");
    case EndedBy::signal:
      return cat(at, signal_text(done.signal));
  }
  throw std::logic_error("no such end");
}

TrainSummary Loop::summary() const {
  const auto& at = state_.at;
  const auto why = ended_by();
  return {folder_.path(),
          at.step,
          at.best_step,
          at.best_val_loss,
          seconds(),
          why,
          why == EndedBy::signal ? interrupt_.signal() : 0};
}

}  // namespace moe
