#include "train/state.h"

#include <ATen/Parallel.h>

#include <cmath>

#include "moe/base/random.h"
#include "moe/base/text.h"
#include "moe/base/version.h"
#include "moe/model/build.h"

namespace moe {

namespace {

constexpr std::int64_t kFormatVersion = 1;

SparseMoELanguageModel build_model(const RunConfig& config, std::int64_t vocab_size,
                                   at::Device device) {
  SparseMoELanguageModel model(config.model, vocab_size);
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
double loss_from_json(const Json& json) {
  return json.is_null() ? std::numeric_limits<double>::infinity() : json.get<double>();
}

}  // namespace

TrainState::TrainState(const RunConfig& run_config, std::int64_t vocab_size,
                       const Tokens& train_tokens, at::Device on)
    : config(run_config),
      device(on),
      model(build_model(run_config, vocab_size, on)),
      flat(model),
      optimizer(run_config.optim, flat.values()),
      sampler(train_tokens, run_config.model.block_size, window_order(run_config.data.order),
              stream_key(static_cast<std::uint64_t>(run_config.seed), "data")) {}

Json state_to_json(const TrainState& state, const std::string& data_sha256, double seconds) {
  const auto& at = state.at;
  return {{"format_version", kFormatVersion},
          {"step", at.step},
          {"tokens", at.tokens},
          {"best_step", at.best_step},
          {"best_val_loss", loss_to_json(at.best_val_loss)},
          {"last_val_loss", loss_to_json(at.last_val_loss)},
          {"evaluations_without_best", at.evaluations_without_best},
          {"seed", state.config.seed},
          {"data", state.sampler.state()},
          {"data_sha256", data_sha256},
          {"threads", at::get_num_threads()},
          {"device", state.device.str()},
          {"version", std::string(version())},
          {"times", {{"seconds", seconds}}}};
}

double restore_state(const Json& json, const std::string& where, TrainState& state) {
  try {
    Progression at;
    at.step = json.at("step").get<std::int64_t>();
    at.tokens = json.at("tokens").get<std::int64_t>();
    at.best_step = json.at("best_step").get<std::int64_t>();
    at.best_val_loss = loss_from_json(json.at("best_val_loss"));
    at.last_val_loss = loss_from_json(json.at("last_val_loss"));
    at.evaluations_without_best = json.at("evaluations_without_best").get<std::int64_t>();
    state.sampler.restore(json.at("data"));
    state.at = at;
    return json.at("times").at("seconds").get<double>();
  } catch (const Json::exception& error) {
    throw CheckpointError(cat(where, ": state.json does not fit (", error.what(),
                              "); resume from another checkpoint"));
  }
}

}  // namespace moe
