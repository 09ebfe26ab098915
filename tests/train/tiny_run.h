#pragma once

#include <ATen/ATen.h>

#include <algorithm>
#include <cstddef>
#include <string>
#include <vector>

#include "moe/base/random.h"
#include "moe/train/state.h"
#include "tests/support/device.h"

namespace moe::test {

constexpr std::int64_t kVocab = 11;

/// A run of 20 updates of 4 windows of 8, dropout and router noise on.
inline RunConfig tiny_run() {
  RunConfig config;
  config.seed = 5;
  config.model.n_embed = 16;
  config.model.n_head = 2;
  config.model.n_layer = 2;
  config.model.block_size = 8;
  config.model.moe.num_experts = 4;
  config.train.max_iters = 20;
  config.train.batch_size = 4;
  return config;
}

/// The same by Muon, experts in turn, with every schedule that it has.
inline RunConfig tiny_muon_run() {
  auto config = tiny_run();
  auto& optim = config.optim;
  optim.kind = OptimizerKind::muon;
  optim.muon.every = 2;
  optim.momentum_schedule.warmup_iters = 4;
  optim.cautious_decay = true;
  optim.decay_schedule = DecaySchedule::linear;
  optim.schedule = {ScheduleKind::wsd, 3, 1e-4, 0.75};
  optim.groups.embedding = {3, 0};
  optim.average = {0.25, 4, 0.5};
  return config;
}

inline Tokens some_tokens(std::size_t count) {
  Generator draws(stream_key(9, "tokens"));
  Tokens tokens(count);
  for (auto& token : tokens) token = static_cast<std::int32_t>(draws.below(kVocab));
  return tokens;
}

/// A state over a text of its own; 100 symbols are 12 windows, so epochs end soon.
struct TinyRun {
  explicit TinyRun(const RunConfig& config)
      : tokens(some_tokens(100)), state(config, kVocab, tokens, test_device()) {}
  TinyRun(const TinyRun&) = delete;
  TinyRun& operator=(const TinyRun&) = delete;

  at::Tensor value(const std::string& name) { return view(state.flat.values(), name); }
  at::Tensor gradient(const std::string& name) { return view(state.flat.gradients(), name); }

  Tokens tokens;  // the state's sampler reads them
  TrainState state;

 private:
  at::Tensor view(const at::Tensor& flat, const std::string& name) {
    const auto& layout = state.flat.layout();
    const auto found =
        std::ranges::find_if(layout, [&](const auto& tensor) { return tensor.name == name; });
    return FlatParameters::view(flat, *found);
  }
};

/// Equal in every bit: NaN equals itself, 0 does not equal -0. Both float.
inline bool same_bits(const at::Tensor& a, const at::Tensor& b) {
  return at::equal(a.view(at::kInt), b.view(at::kInt));
}

/// A copy of everything that an update reads and writes.
struct Snapshot {
  explicit Snapshot(const TrainState& state)
      : values(state.flat.values().clone()),
        steps(state.optimizer.steps),
        json(state_to_json(state, {"sha", "text"}, 0)) {
    for (const auto& part : state.optimizer.state()) kept.push_back(part.values.clone());
    averaged_steps = state.optimizer.averaged_steps;
  }

  bool same_weights_and_moments(const Snapshot& other) const {
    return same_bits(values, other.values) && std::ranges::equal(kept, other.kept, same_bits) &&
           steps == other.steps && averaged_steps == other.averaged_steps;
  }
  bool operator==(const Snapshot& other) const {
    return same_weights_and_moments(other) && json == other.json;
  }
  /// Puts `state` where this was taken, its JSON by way of text.
  void restore(TrainState& state) const {
    state.flat.values().copy_(values);
    for (std::size_t i = 0; i < kept.size(); ++i) state.optimizer.state()[i].values.copy_(kept[i]);
    state.optimizer.steps = steps;
    state.optimizer.averaged_steps = averaged_steps;
    const auto text = json_text(json);
    restore_state(parse_json(text, "state.json", ErrorKind::checkpoint), "state.json", state);
  }

  at::Tensor values;
  std::vector<at::Tensor> kept;  // by the optimizer
  std::int64_t steps, averaged_steps;
  Json json;
};

}  // namespace moe::test
