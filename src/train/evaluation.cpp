#include <algorithm>
#include <cmath>
#include <numbers>

#include "moe/base/random.h"
#include "moe/base/text.h"
#include "moe/eval/evaluator.h"
#include "moe/eval/inspect.h"
#include "train/loop.h"

// The evaluations of a run: what they cost, what they find, and who is told.

namespace moe {

namespace {

/// What docs/metrics.md calls moe/layerL/... of each layer that has a router.
void add_health(MetricRow& row, const RoutingTallies& routing) {
  for (std::size_t layer = 0; layer < routing.size(); ++layer) {
    if (!routing[layer].has_router()) continue;
    const auto health = health_of(routing[layer]);
    const auto prefix = cat("moe/layer", layer, "/");
    row.vectors.push_back({prefix + "load", health.load});
    row.vectors.push_back({prefix + "gate_mass", health.gate_mass});
    for (const auto& [name, value] : kHealthFigures)
      row.values.emplace_back(cat(prefix, name), health.*value);
  }
}

/// Windows that begin `stride` apart and have every target of a split.
std::int64_t whole_split(TokenView split, std::int64_t stride) {
  return (static_cast<std::int64_t>(split.size()) - 2) / stride + 1;
}

}  // namespace

std::int64_t Loop::windows_of_evaluation() const {
  const auto& config = request_.config;
  if (config.eval.mode == EvalMode::random)
    return 2 * config.eval.eval_iters * config.train.batch_size;
  const auto& val = material_.corpus.val;
  const auto block = config.model.block_size;
  return whole_split(val, block) + whole_split(val, config.eval.stride.value_or(block));
}

void Loop::warn_of_long_evaluations() const {
  constexpr double kSoonDone = 4e6;  // [targets] about a minute on a small CPU
  constexpr double kMostRatio = 10;  // then three quarters of the time is evaluation
  const auto& config = request_.config;
  const auto windows = static_cast<double>(windows_of_evaluation());
  const auto targets = windows * static_cast<double>(config.model.block_size);
  const auto ratio = windows / static_cast<double>(config.train.eval_interval) /
                     static_cast<double>(config.train.batch_size);
  if (targets <= kSoonDone || ratio <= kMostRatio) return;
  const bool is_full = config.eval.mode == EvalMode::full;
  log_.warn(cat("each evaluation reads ", grouped(static_cast<long long>(targets)), " targets, ",
                std::round(ratio), " times as many as are learned from between two; ",
                is_full ? "--set eval.mode=random reads eval.eval_iters batches"
                        : "--set eval.eval_iters=N reads fewer batches",
                ", --set train.eval_interval=N evaluates less often"));
}

std::pair<double, double> Loop::losses(RoutingTallies& routing) {
  const auto& config = request_.config;
  const auto& corpus = material_.corpus;
  const auto seed = static_cast<std::uint64_t>(config.seed);
  const auto key = stream_key(seed, "eval", static_cast<std::uint64_t>(state_.at.step));
  EvaluatedWeights evaluated(state_);
  const auto forwards = windows_of_evaluation() / evaluation_windows(config.model.block_size) + 1;
  std::int64_t made = 0;
  const auto stop = [&] {
    // Without the evaluation's result: the resumed run begins with it.
    if (save_is_asked()) evaluated.put_back_during([&] { save_if_asked(); });
    log_.live(cat("step ", state_.at.step, ": evaluating, ",
                  std::min<std::int64_t>(100 * made++ / forwards, 99), " %"));
    return interrupt_.signal();
  };
  if (config.eval.mode == EvalMode::full) {
    const auto block = config.model.block_size;
    const auto windows = whole_split(corpus.val, block);
    const auto train = evaluate_full(state_.model, corpus.train, key, windows, stop).loss;
    const auto stride = config.eval.stride.value_or(block);
    return {train, evaluate_strided(state_.model, corpus.val, key, stride, stop, &routing).loss};
  }
  const auto iters = config.eval.eval_iters, batch = config.train.batch_size;
  const auto loss = [&](TokenView tokens, std::string_view stream, RoutingTallies* tallies) {
    return evaluate_random(state_.model, tokens, stream_key(key, stream), iters, batch, stop,
                           tallies)
        .loss;
  };
  const auto train = loss(corpus.train, "train", nullptr);
  return {train, loss(corpus.val, "val", &routing)};
}

void Loop::note_loss(double val) {
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
}

void Loop::write_routing(const RoutingTallies& routing) {
  Json json = {{"step", state_.at.step}};
  json.update(routing_to_json(routing, material_.tokenizer));
  try {
    folder_.write_json("routing.json", json, /*indent=*/-1);
  } catch (const ResourceError& error) {
    log_.warn(cat(error.what(), " (training continues; the next evaluation writes it again)"));
  }
}

void Loop::evaluate() {
  settle();
  if (!evaluation_is_due()) return;  // what was not finite was made again, and the step is another
  const auto begin = monotonic_seconds();
  folder_.require_lock();
  const auto& at = state_.at;
  auto routing = make_tallies(state_.model);
  const auto [train, val] = losses(routing);
  note_loss(val);
  MetricRow row{at.step, seconds(), at.tokens, {{"train/loss", train}, {"val/loss", val}}};
  const auto bits =
      val / std::numbers::ln2 / bytes_per_target(material_.tokenizer, material_.corpus.val);
  if (std::isfinite(bits)) row.values.emplace_back("val/bits_per_byte", bits);
  add_health(row, routing);
  trackers_->write(row);
  write_routing(routing);
  log_.live("");
  log_.info(cat("step ", at.step, ": train loss ", fixed(train, 4), ", val loss ", fixed(val, 4),
                material_.tokenizer.kind() == TokenizerKind::bpe
                    ? cat(" nats a token, ", fixed(bits, 4), " bits a byte")
                    : "",
                at.best_step == at.step ? " (best)" : ""));
  reported_at_ += monotonic_seconds() - begin;  // evaluation does not count as training time
}

}  // namespace moe
