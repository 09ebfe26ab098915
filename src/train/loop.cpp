#include <ATen/Context.h>
#include <ATen/Parallel.h>
#include <torch/version.h>

#include <algorithm>
#include <cmath>

#include "moe/base/random.h"
#include "moe/base/sha256.h"
#include "moe/base/system.h"
#include "moe/base/text.h"
#include "moe/base/version.h"
#include "moe/checkpoint/checkpoint.h"
#include "moe/config/load.h"
#include "moe/data/corpus.h"
#include "moe/eval/evaluator.h"
#include "moe/model/build.h"
#include "moe/sample/generator.h"
#include "moe/tracking/run_folder.h"
#include "moe/train/trainer.h"
#include "train/material.h"
#include "train/state.h"

namespace moe {

namespace {

constexpr std::int64_t kSampleLength = 200;  // characters in the log and samples.jsonl

/// One run from its first update to its end: what is done, in order, and who is told.
class Loop {
 public:
  Loop(const TrainRequest& request, Material material, RunFolder& folder,
       const InterruptFlag& interrupt, Log& log, FileLayer& files)
      : request_(request),
        material_(std::move(material)),
        folder_(folder),
        interrupt_(interrupt),
        log_(log),
        files_(files),
        state_(request.config, material_.tokenizer.vocab_size(), material_.corpus.train,
               choose_device(request.config.device)) {}

  void load_weights_from(const std::string& checkpoint);
  /// Goes on from a checkpoint.
  void resume_from(const CheckpointInfo& info);
  /// Whether nothing is left to do, not even to write that down.
  bool is_recorded_as_finished() const;
  TrainSummary run();
  TrainSummary summary() const;
  void write_run_json(const std::string& status);

 private:
  bool finished() const {
    return state_.at.step >= request_.config.train.max_iters || patience_is_out();
  }
  bool evaluation_is_due() const;
  void evaluate();
  void maybe_evaluate();
  void save_when_due();
  void save();
  void save_or_warn();
  void report(const StepResult& result);
  void sample();
  void update();
  NumericsError diverged(std::string_view what, std::int64_t step) const;
  bool patience_is_out() const;
  bool due(std::int64_t interval) const { return state_.at.step % interval == 0; }
  double seconds() const { return seconds_before_ + monotonic_seconds() - begin_; }
  std::string progress_line(const StepResult& result, double tokens_per_second) const;

  const TrainRequest& request_;
  Material material_;
  RunFolder& folder_;
  const InterruptFlag& interrupt_;
  Log& log_;
  FileLayer& files_;
  TrainState state_;
  Json recorded_ = folder_.read_run_json();  // of the run that is gone on with, else {}
  Json start_ = recorded_.value("start", Json(utc_now()));
  double begin_ = monotonic_seconds(), seconds_before_ = 0;
  double reported_at_ = monotonic_seconds();  // of the last row
  std::int64_t reported_tokens_ = 0;
  std::int64_t saved_step_ = -1;
};

void Loop::load_weights_from(const std::string& checkpoint) {
  const auto ref = resolve_checkpoint(checkpoint);
  const auto info = read_checkpoint_info(ref);
  const auto differences = vocabulary_differences(info.tokenizer, material_.tokenizer);
  if (!differences.empty())
    throw CheckpointError(cat(checkpoint, ": its vocabulary is not that of the text (", differences,
                              "); train on a text with the same symbols"));
  moe::load_weights(ref, state_.flat);
}

void Loop::resume_from(const CheckpointInfo& info) {
  const auto where = (info.ref.folder / "state.json").string();
  const auto facts = read_facts(info.state, where);
  if (facts.data_sha256 != material_.sha256)
    throw DataError(cat(request_.config.data.path,
                        ": is not the text that this run was trained on (sha256 differs); name "
                        "that text with --data, or train into another folder"));
  moe::load_weights(info.ref, state_.flat);
  load_optimizer(info.ref, state_.flat, state_.optimizer);
  restore_state(info.state, where, state_);
  seconds_before_ = facts.seconds;
  if (facts.threads != at::get_num_threads() || facts.device != state_.device.str())
    log_.warn(cat("the run was on ", facts.device, " with ", facts.threads, " threads, now ",
                  state_.device.str(), " with ", at::get_num_threads(),
                  ": it goes on, but not bit for bit"));
  saved_step_ = state_.at.step;
  folder_.cut_back_to(state_.at.step);
  log_.info(cat("resuming at step ", state_.at.step));
}

bool Loop::patience_is_out() const {
  const auto& patience = request_.config.train.early_stopping_patience;
  return patience && state_.at.evaluations_without_best >= *patience;
}

void Loop::write_run_json(const std::string& status) {
  const auto& at = state_.at;
  folder_.write_json("run.json",
                     {{"status", status},
                      {"version", std::string(version())},
                      {"commit", std::string(commit())},
                      {"libtorch", TORCH_VERSION},
                      {"compiler", std::string(compiler())},
                      {"device", state_.device.str()},
                      {"threads", at::get_num_threads()},
                      {"host", host_name()},
                      {"data", {{"path", request_.config.data.path}, {"sha256", material_.sha256}}},
                      {"start", start_},
                      {"end", status == "running" ? Json(nullptr) : Json(utc_now())},
                      {"seconds", seconds()},
                      {"step", at.step},
                      {"best_step", at.best_step < 0 ? Json(nullptr) : Json(at.best_step)},
                      {"best_val_loss",
                       std::isfinite(at.best_val_loss) ? Json(at.best_val_loss) : Json(nullptr)}});
}

void Loop::evaluate() {
  const auto& config = request_.config;
  const auto& corpus = material_.corpus;
  const auto seed = static_cast<std::uint64_t>(config.seed);
  const auto key = stream_key(seed, "eval", static_cast<std::uint64_t>(state_.at.step));
  const auto stop = [&] { return interrupt_.signal(); };
  double train = 0, val = 0;
  log_.live(cat("step ", state_.at.step, ": evaluating"));
  if (config.eval.mode == EvalMode::full) {
    const auto block = config.model.block_size;
    const auto windows = (static_cast<std::int64_t>(corpus.val.size()) - 2) / block + 1;
    train = evaluate_full(state_.model, corpus.train, key, windows, stop).loss;
    val = evaluate_full(state_.model, corpus.val, key, 0, stop).loss;
  } else {
    const auto iters = config.eval.eval_iters, batch = config.train.batch_size;
    train =
        evaluate_random(state_.model, corpus.train, stream_key(key, "train"), iters, batch, stop)
            .loss;
    val =
        evaluate_random(state_.model, corpus.val, stream_key(key, "val"), iters, batch, stop).loss;
  }
  auto& at = state_.at;
  at.evaluated_step = at.step;
  at.last_val_loss = val;
  saved_step_ = -1;  // what was saved of this step did not know its evaluation
  if (val < at.best_val_loss) {
    at.best_val_loss = val;
    at.best_step = at.step;
    at.evaluations_without_best = 0;
  } else {
    ++at.evaluations_without_best;
  }
  folder_.write({at.step, seconds(), at.tokens, {{"train/loss", train}, {"val/loss", val}}});
  log_.live("");
  log_.info(cat("step ", at.step, ": train loss ", fixed(train, 4), ", val loss ", fixed(val, 4),
                at.best_step == at.step ? " (best)" : ""));
  reported_at_ = monotonic_seconds();  // evaluation does not count as training time
}

void Loop::save() {
  if (saved_step_ == state_.at.step) return;
  const auto& at = state_.at;
  save_checkpoint(folder_.path(), at.step, state_.flat, state_.optimizer,
                  state_to_json(state_, material_.sha256, seconds()), request_.config,
                  material_.tokenizer, at.best_step == at.step, files_);
  saved_step_ = at.step;
  prune_checkpoints(folder_.path(), request_.config.train.keep_checkpoints, at.best_step, files_);
}

void Loop::save_or_warn() {
  try {
    save();
  } catch (const ResourceError& error) {
    log_.warn(cat(error.what(), " (training goes on; the next checkpoint is tried again)"));
  }
}

std::string Loop::progress_line(const StepResult& result, double tokens_per_second) const {
  const auto& at = state_.at;
  const auto left = static_cast<double>(request_.config.train.max_iters - at.step) *
                    static_cast<double>(result.tokens) / std::max(1.0, tokens_per_second);
  auto line =
      cat("step ", at.step, "/", request_.config.train.max_iters, "  loss ", fixed(result.loss, 4));
  if (std::isfinite(at.last_val_loss)) line += cat("  val ", fixed(at.last_val_loss, 4));
  return line + cat("  ", grouped(std::llround(tokens_per_second)), " tokens/s  ETA ",
                    human_seconds(left));
}

void Loop::report(const StepResult& result) {
  reported_tokens_ += result.tokens;
  const auto& at = state_.at;
  if (at.step != 1 && !due(request_.config.train.log_interval)) return;
  const auto now = monotonic_seconds();
  const auto rate = static_cast<double>(reported_tokens_) / std::max(1e-9, now - reported_at_);
  reported_at_ = now;
  reported_tokens_ = 0;
  MetricRow row{at.step,
                seconds(),
                at.tokens,
                {{"train/step_loss", result.loss},
                 {"lr", result.learning_rate},
                 {"tokens_per_second", rate},
                 {"grad_norm", result.grad_norm}}};
  if (request_.config.model.moe.capacity_factor)
    row.values.emplace_back("moe/dropped_fraction", result.dropped_fraction);
  folder_.write(row);
  const auto line = progress_line(result, rate);
  if (log_.has_live_line())
    log_.live(line);
  else
    log_.info(line);
}

void Loop::sample() {
  GenerateOptions options;
  options.max_new_tokens = kSampleLength;
  options.seed = stream_key(static_cast<std::uint64_t>(request_.config.seed), "sample",
                            static_cast<std::uint64_t>(state_.at.step));
  const std::vector<std::int32_t> prompt{material_.tokenizer.start_id()};
  const auto text = generate(state_.model, material_.tokenizer, prompt, options).front().text;
  log_.info(cat("sample at step ", state_.at.step, ":\n", text));
  folder_.write_sample({{"step", state_.at.step}, {"text", text}});
  reported_at_ = monotonic_seconds();
}

NumericsError Loop::diverged(std::string_view what, std::int64_t step) const {
  const auto run = folder_.path().string();
  return NumericsError(
      cat(run, ": ", what, " is not finite at step ", step,
          "; lower optim.learning_rate or set optim.grad_clip in a new run (--init-from ", run,
          " takes the weights of its best checkpoint over)"));
}

void Loop::update() {
  try {
    report(train_step(state_));
  } catch (const NonFinite& problem) {
    folder_.write_json("nonfinite.json", problem.record);
    throw diverged("loss or gradient", state_.at.step + 1);
  }
}

bool Loop::evaluation_is_due() const {
  const auto& train = request_.config.train;
  return state_.at.evaluated_step != state_.at.step &&
         (due(train.eval_interval) || state_.at.step == train.max_iters);
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
  if (evaluation_is_due()) {  // of step 0, or one that a signal cut short
    maybe_evaluate();
    if (state_.at.step > 0) save_when_due();
  }
  while (state_.at.step < end && !patience_is_out() && interrupt_.signal() == 0) {
    update();
    maybe_evaluate();
    if (train.sample_interval && due(*train.sample_interval)) sample();
    save_when_due();
  }
  log_.live("");
  save();
  const auto signal = finished() ? 0 : interrupt_.signal();
  write_run_json(finished() ? "finished" : signal != 0 ? "interrupted" : "stopped");
  auto done = summary();
  done.signal = signal;
  return done;
}

TrainSummary Loop::summary() const {
  return {folder_.path(), state_.at.step, state_.at.best_step, state_.at.best_val_loss, seconds()};
}

bool Loop::is_recorded_as_finished() const {
  return finished() && !evaluation_is_due() && recorded_.value("status", Json()) == "finished";
}

/// Refuses what may not change between a run and its continuation.
void check_resumable(const RunFolder& folder, const RunConfig& wanted) {
  const auto file = folder.path() / "config.json";
  if (!fs::exists(file)) return;
  const auto saved = config_from_json(read_json(file.string(), ErrorKind::config), file.string());
  const auto differences = resume_differences(saved, wanted);
  if (!differences.empty())
    throw ConfigError(cat(folder.path().string(), ": --resume can not change ",
                          join(differences, "; "),
                          "; take these back, or train into another folder"));
}

RunFolder open_folder(const TrainRequest& request, FileLayer& files) {
  std::error_code ignored;
  if (request.resume && fs::exists(request.out, ignored))
    return RunFolder::open(request.out, files);
  return RunFolder::create(request.out, files);
}

}  // namespace

std::int64_t estimate_memory(const RunConfig& config, std::int64_t vocab_size) {
  const auto& m = config.model;
  const auto c = static_cast<double>(m.n_embed);
  const auto tokens =
      static_cast<double>(config.train.batch_size) * static_cast<double>(m.block_size);
  // Kept for backward, per token and layer: norms, q/k/v, attention weights, expert rows.
  const auto attention = 10 * c + 4 * static_cast<double>(m.n_head * m.block_size);
  const auto experts = static_cast<double>(m.moe.top_k) * (4 + 6) * c;
  const auto activations = tokens * (static_cast<double>(m.n_layer) * (attention + experts) +
                                     4 * static_cast<double>(vocab_size));
  const auto parameters = static_cast<double>(count_parameters(m, vocab_size));
  const auto bytes = sizeof(float) * (4 * parameters + activations);
  constexpr double kLargest = 9e18;  // an int64
  return static_cast<std::int64_t>(std::min(bytes, kLargest));
}

void check_memory(const RunConfig& config, std::int64_t vocab_size) {
  const auto needed = estimate_memory(config, vocab_size), available = available_memory();
  if (available >= 0 && needed > available)
    throw ResourceError(cat("memory: this model and batch need about ",
                            human_bytes(static_cast<double>(needed)), ", ",
                            human_bytes(static_cast<double>(available)),
                            " are available; lower train.batch_size, model.block_size, "
                            "model.n_embed, model.n_layer or model.moe.num_experts"));
}

TrainSummary train(const TrainRequest& request, const InterruptFlag& interrupt, Log& log,
                   FileLayer& files) {
  auto material = read_material(request.config, log);
  check_memory(request.config, material.tokenizer.vocab_size());
  auto folder = open_folder(request, files);
  if (request.resume) check_resumable(folder, request.config);
  std::vector<std::string> notices;
  const auto from = request.resume ? newest_sound_checkpoint(folder.path(), notices) : std::nullopt;
  for (const auto& notice : notices) log.warn(notice);
  const auto tokenizer = material.tokenizer;
  Loop loop(request, std::move(material), folder, interrupt, log, files);
  if (!request.init_from.empty() && !from) loop.load_weights_from(request.init_from);
  if (from) loop.resume_from(*from);
  if (from && loop.is_recorded_as_finished()) return loop.summary();
  if (!from && request.resume) folder.cut_back_to(-1);
  log.also_to(folder.path() / "log.txt");
  folder.write_json("config.json", config_to_json(request.config));
  folder.write_json("tokenizer.json", tokenizer.to_json());
  try {
    return loop.run();
  } catch (...) {
    loop.write_run_json("failed");
    throw;
  }
}

}  // namespace moe
