#include "moe/train/state.h"

#include <ATen/Parallel.h>

#include <cmath>

#include "moe/base/random.h"
#include "moe/base/text.h"
#include "moe/base/version.h"
#include "moe/model/build.h"
#include "train/balance.h"

namespace moe {

namespace {

constexpr std::int64_t kFormatVersion = 1;

SparseMoELanguageModel build_model(const RunConfig& config, const Vocabulary& vocabulary,
                                   at::Device device) {
  SparseMoELanguageModel model(config.model, vocabulary);
  initialise(model, static_cast<std::uint64_t>(config.seed));
  model->to(device);
  return model;
}

WindowOrder window_order(DataOrder order) {
  switch (order) {
    case DataOrder::random:
      return WindowOrder::random;
    case DataOrder::epoch:
      return WindowOrder::epoch;
    case DataOrder::sequential:
      return WindowOrder::sequential;
  }
  throw std::logic_error("no such data.order");
}

Json loss_to_json(double loss) { return std::isfinite(loss) ? Json(loss) : Json(nullptr); }

/// Reads a state.json value by value; what does not fit is named with its place.
class StateReader {
 public:
  StateReader(const Json& json, const std::string& where) : json_(json), where_(where) {}

  std::int64_t integer(const char* key, std::int64_t least) const {
    return json_integer(json_, key, least, where_, kRemedy, ErrorKind::checkpoint);
  }
  /// null stands for a loss that was never measured: infinity.
  double loss(const char* key) const {
    const auto value = member(json_, key);
    if (value.is_null()) return std::numeric_limits<double>::infinity();
    return number(value, key);
  }
  double seconds() const { return number(member(member(json_, "times"), "seconds"), "seconds"); }
  std::string text(const char* key) const {
    const auto value = member(json_, key);
    if (!value.is_string()) refuse(key, "is no text");
    return value.get<std::string>();
  }
  Json data() const { return member(json_, "data"); }

 private:
  static constexpr const char* kRemedy = "resume from another checkpoint";

  [[noreturn]] void refuse(const char* key, std::string_view what) const {
    throw CheckpointError(cat(where_, ": \"", key, "\" ", what, "; ", kRemedy));
  }
  Json member(const Json& object, const char* key) const {
    if (!object.is_object() || !object.contains(key)) refuse(key, "is missing");
    return object.at(key);
  }
  double number(const Json& value, const char* key) const {
    if (!value.is_number()) refuse(key, "is no number");
    return value.get<double>();
  }

  const Json& json_;
  const std::string& where_;
};

}  // namespace

TrainState::TrainState(const RunConfig& run_config, const Vocabulary& vocabulary,
                       TokenView train_tokens, at::Device on)
    : config(run_config),
      device(on),
      model(build_model(run_config, vocabulary, on)),
      flat(model),
      optimizer(run_config.optim, plan_updates(run_config.optim, flat.table()), flat.trained()),
      sampler(train_tokens, run_config.model.block_size, window_order(run_config.data.order),
              stream_key(static_cast<std::uint64_t>(run_config.seed), "data")),
      update_sums(make_update_sums(model->spec(), on)) {
  workspace.reserve(
      model->planned_memory(config.train.batch_size, config.model.block_size, /*training=*/true));
}

EvaluatedWeights::EvaluatedWeights(TrainState& state) : state_(state) {
  if (state.optimizer.averaged_steps > 0) trained_ = state.flat.values().clone();
  take();
}

EvaluatedWeights::~EvaluatedWeights() { put_back(); }

void EvaluatedWeights::take() {
  if (trained_.defined()) state_.optimizer.blend(state_.flat.values());
}

void EvaluatedWeights::put_back() {
  if (trained_.defined()) state_.flat.values().copy_(trained_);
}

Json state_to_json(const TrainState& state, const DataSums& sums, double seconds) {
  const auto& at = state.at;
  return {{"format_version", kFormatVersion},
          {"step", at.step},
          {"tokens", at.tokens},
          {"evaluated_step", at.evaluated_step},
          {"best_step", at.best_step},
          {"best_val_loss", loss_to_json(at.best_val_loss)},
          {"last_val_loss", loss_to_json(at.last_val_loss)},
          {"evaluations_without_best", at.evaluations_without_best},
          {"seed", state.config.seed},
          {"data", state.sampler.state()},
          {"data_sha256", sums.files},
          {"text_sha256", sums.texts},
          {"threads", at::get_num_threads()},
          {"device", state.device.str()},
          {"version", std::string(version())},
          {"times", {{"seconds", seconds}}}};
}

SavedFacts read_facts(const Json& json, const std::string& where) {
  const StateReader read(json, where);
  // Older checkpoints have no "text_sha256".
  return {read.seconds(),
          {read.text("data_sha256"), json.contains("text_sha256") ? read.text("text_sha256") : ""},
          read.text("device"),
          read.integer("threads", 0)};
}

void restore_state(const Json& json, const std::string& where, TrainState& state) {
  const StateReader read(json, where);
  Progression at;
  at.step = read.integer("step", 0);
  at.tokens = read.integer("tokens", 0);
  at.evaluated_step = read.integer("evaluated_step", -1);
  at.best_step = read.integer("best_step", -1);
  at.best_val_loss = read.loss("best_val_loss");
  at.last_val_loss = read.loss("last_val_loss");
  at.evaluations_without_best = read.integer("evaluations_without_best", 0);
  state.sampler.restore(read.data(), where);
  state.at = at;
}

}  // namespace moe
