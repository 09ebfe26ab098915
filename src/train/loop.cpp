#include "train/loop.h"

#include <ATen/Parallel.h>
#include <torch/version.h>

#include <algorithm>
#include <cmath>

#include "moe/base/random.h"
#include "moe/base/text.h"
#include "moe/base/version.h"
#include "moe/sample/generator.h"

namespace moe {

namespace {

constexpr std::int64_t kSampleLength = 200;  // characters in the log and samples.jsonl

/// The side losses of an update, without their weights.
void add_side_terms(MetricRow& row, const SideMeans& means) {
  row.values.insert(row.values.end(), {{"train/balance_loss", means[kSwitchBatch]},
                                       {"train/sequence_balance_loss", means[kSwitchSequence]},
                                       {"train/importance_loss", means[kImportanceLoss]},
                                       {"train/load_loss", means[kLoadLoss]},
                                       {"train/z_loss", means[kZLoss]}});
}

}  // namespace

bool Loop::patience_is_out() const {
  const auto& patience = request_.config.train.early_stopping_patience;
  return patience && state_.at.evaluations_without_best >= *patience;
}

void Loop::write_run_json(const std::string& status, const Json& ended_by) {
  const auto& at = state_.at;
  const auto& sums = material_.sums;
  folder_.write_json("run.json",
                     {{"status", status},
                      {"ended_by", ended_by},
                      {"version", std::string(version())},
                      {"commit", std::string(commit())},
                      {"libtorch", TORCH_VERSION},
                      {"compiler", std::string(compiler())},
                      {"device", state_.device.str()},
                      {"threads", at::get_num_threads()},
                      {"host", host_name()},
                      {"data",
                       {{"path", request_.config.data.path.shown()},
                        {"sha256", sums.files},
                        {"text_sha256", sums.texts}}},
                      {"start", start_},
                      {"end", status == "running" ? Json(nullptr) : Json(utc_now())},
                      {"seconds", seconds()},
                      {"step", at.step},
                      {"best_step", at.best_step < 0 ? Json(nullptr) : Json(at.best_step)},
                      {"best_val_loss",
                       std::isfinite(at.best_val_loss) ? Json(at.best_val_loss) : Json(nullptr)}});
}

void Loop::save() {
  settle();
  if (saved_step_ == state_.at.step) return;
  folder_.require_lock();
  const auto& at = state_.at;
  folder_.catch_up();  // so that no row is missing of the steps that a resumed run does not repeat
  if (!verified_.contains(at.step))
    for (const auto& line : make_way_for(folder_.path(), at.step, files_)) log_.warn(line);
  save_checkpoint(folder_.path(), at.step, state_.flat, state_.optimizer,
                  state_to_json(state_, material_.sums, seconds()), request_.config,
                  material_.tokenizer, at.best_step == at.step, files_);
  saved_step_ = at.step;
  verified_.insert(at.step);
  try {
    prune_checkpoints(folder_.path(), request_.config.train.keep_checkpoints, at.best_step, files_,
                      &verified_);
  } catch (const Error& error) {  // tidying is never worth a run
    log_.warn(cat(error.what(), " (old checkpoints stay until the next one is saved)"));
  }
}

bool Loop::save_or_warn() {
  try {
    save();
    return true;
  } catch (const LockLost&) {
    throw;
  } catch (const ResourceError& error) {
    log_.warn(cat(error.what(), " (training continues; the next checkpoint is tried again)"));
    return false;
  }
}

void Loop::save_if_asked() {
  if (!save_is_asked()) return;
  saves_heeded_ = interrupt_.saves_asked();
  if (save_or_warn()) log_.info(cat("step ", state_.at.step, ": saved, as SIGUSR1 asks"));
}

std::string Loop::progress_line(const StepResult& result, double tokens_per_second) const {
  const auto& at = state_.at;
  const auto& train = request_.config.train;
  const auto tokens = train.grad_accumulation * train.batch_size * request_.config.model.block_size;
  const auto left = static_cast<double>(train.max_iters - at.step) * static_cast<double>(tokens) /
                    std::max(1.0, tokens_per_second);
  auto line = cat("step ", at.step, "/", train.max_iters, "  loss ", fixed(result.loss, 4));
  if (std::isfinite(at.last_val_loss)) line += cat("  val ", fixed(at.last_val_loss, 4));
  return line + cat("  ", grouped(std::llround(tokens_per_second)), " tokens/s  ETA ",
                    human_seconds(left));
}

void Loop::report(const StepResult& result) {
  const auto& at = state_.at;
  if (!report_is_due()) return;
  const auto now = monotonic_seconds();
  const auto rate =
      static_cast<double>(at.tokens - reported_tokens_) / std::max(1e-9, now - reported_at_);
  reported_at_ = now;
  reported_tokens_ = at.tokens;
  MetricRow row{at.step,
                seconds(),
                at.tokens,
                {{"train/step_loss", result.loss},
                 {"lr", result.learning_rate},
                 {"tokens_per_second", rate},
                 {"grad_norm", result.grad_norm}}};
  if (request_.config.model.moe.capacity_factor)
    row.values.emplace_back("moe/dropped_fraction", result.dropped_fraction);
  for (std::size_t layer = 0; layer < result.dropped_by_layer.size(); ++layer)
    row.values.emplace_back(cat("moe/layer", layer, "/dropped_fraction"),
                            result.dropped_by_layer[layer]);
  add_side_terms(row, result.side_terms);
  trackers_->write(row);
  const auto line = progress_line(result, rate);
  if (log_.has_live_line())
    log_.live(line);
  else
    log_.info(line);
}

void Loop::sample() {
  settle();
  const auto begin = monotonic_seconds();
  GenerateOptions options;
  options.max_new_tokens = kSampleLength;
  options.seed = stream_key(static_cast<std::uint64_t>(request_.config.seed), "sample",
                            static_cast<std::uint64_t>(state_.at.step));
  const std::vector<std::int32_t> prompt{material_.tokenizer.start_id()};
  const EvaluatedWeights evaluated(state_);
  const auto text = generate(state_.model, material_.tokenizer, prompt, options).front().text;
  log_.info(cat("sample at step ", state_.at.step, ":\n", text));
  folder_.write_sample({{"step", state_.at.step}, {"text", text}});
  reported_at_ += monotonic_seconds() - begin;
}

NumericsError Loop::diverged(std::string_view what, std::int64_t step) const {
  const auto run = folder_.path().string();
  const auto saved =
      list_checkpoints(folder_.path()).empty()
          ? ""
          : cat(" (--init-from ", run, " takes over the weights of its best checkpoint)");
  return NumericsError(cat(run, ": ", what, " is not finite at step ", step,
                           "; lower optim.learning_rate or set optim.grad_clip in a new run",
                           saved));
}

void Loop::report_or_refuse(const std::function<StepResult()>& made) {
  try {
    report(made());
  } catch (const NonFinite& problem) {
    try {
      folder_.write_json("nonfinite.json", problem.record);
    } catch (const ResourceError& error) {
      log_.warn(error.what());
    }
    throw diverged("loss or gradient", state_.at.step + 1);
  }
}

void Loop::update() {
  if (!device_updates_) return report_or_refuse([&] { return train_step(state_); });
  device_updates_->start();
  if (report_is_due()) settle();
}

void Loop::settle() {
  if (device_updates_ && device_updates_->is_ahead())
    report_or_refuse([&] { return device_updates_->read(); });
}

bool Loop::evaluation_is_due() const {
  const auto& train = request_.config.train;
  return state_.at.evaluated_step != state_.at.step &&
         (due(train.eval_interval) || state_.at.step >= train.max_iters);
}

void Loop::maybe_evaluate() {
  if (!evaluation_is_due()) return;
  try {
    evaluate();
  } catch (const Interrupted&) {
    // Saved without it: the resumed run begins with this evaluation.
  } catch (const NumericsError&) {
    throw diverged("the loss of the evaluation", state_.at.step);
  }
}

void Loop::save_when_due() {
  const auto& train = request_.config.train;
  const bool is_best = state_.at.best_step == state_.at.step;
  if (is_best || due(train.checkpoint_interval.value_or(train.eval_interval))) save_or_warn();
}

TrainSummary Loop::run() {
  const auto& train = request_.config.train;
  const auto end = std::min(train.max_iters, request_.stop_after.value_or(train.max_iters));
  write_run_json("running");
  trackers_.emplace(folder_, request_.config, files_, log_);
  if (!finished()) warn_of_long_evaluations();
  if (evaluation_is_due()) {  // of step 0, or one that a signal cut short
    maybe_evaluate();
    if (state_.at.step > 0) save_when_due();
  }
  if (DeviceUpdates::suit(state_)) device_updates_.emplace(state_, train.capture);
  reported_tokens_ = state_.at.tokens;
  reported_at_ = monotonic_seconds();
  while (state_.at.step < end && !patience_is_out() && interrupt_.signal() == 0) {
    update();
    maybe_evaluate();
    if (train.sample_interval && due(*train.sample_interval)) sample();
    save_when_due();
    save_if_asked();
  }
  log_.live("");
  save();
  const auto done = summary();
  log_.info(end_text(done));
  write_run_json(finished()         ? "finished"
                 : done.signal != 0 ? "interrupted"
                                    : "stopped",
                 std::string(name_of(done.ended_by)));
  end_tracking();
  return done;
}

}  // namespace moe
