#pragma once

#include <array>
#include <cstdint>
#include <limits>
#include <string>
#include <vector>

#include "moe/base/json.h"
#include "moe/config/config.h"
#include "moe/data/windows.h"
#include "moe/kernels/workspace.h"
#include "moe/model/flat.h"
#include "moe/model/language_model.h"
#include "moe/optim/optim.h"
#include "moe/train/material.h"

namespace moe {

/// What the loop remembers from update to update, besides weights, moments and the data cursor.
struct Progression {
  std::int64_t step = 0;             // finished updates
  std::int64_t tokens = 0;           // learned from so far
  std::int64_t evaluated_step = -1;  // the last step whose evaluation was made; -1: none
  std::int64_t best_step = -1;
  double best_val_loss = std::numeric_limits<double>::infinity();
  double last_val_loss = std::numeric_limits<double>::infinity();
  std::int64_t evaluations_without_best = 0;
};

/// Everything that an update reads and writes.
struct TrainState {
  TrainState(const RunConfig& run_config, const Vocabulary& vocabulary, TokenView train_tokens,
             at::Device on);

  RunConfig config;
  at::Device device;
  SparseMoELanguageModel model;
  FlatParameters flat;
  Optimizer optimizer;
  WindowSampler sampler;
  kernels::Workspace workspace;  // activations of one forward and backward
  /// (L, kBalanceSums, E) double: how the tokens of the last update were routed; undefined where
  /// neither a side loss nor a bias reads it.
  at::Tensor update_sums;
  Progression at;
};

/// While one lives, the model has the weights to evaluate with instead of those to train on
/// (optim.average); without an average they are the same, and nothing happens.
class EvaluatedWeights {
 public:
  explicit EvaluatedWeights(TrainState& state);
  ~EvaluatedWeights();
  EvaluatedWeights(const EvaluatedWeights&) = delete;
  EvaluatedWeights& operator=(const EvaluatedWeights&) = delete;

  /// Does something with the weights to train on.
  template <class Action>
  void put_back_during(const Action& action) {
    put_back();
    action();
    take();
  }

 private:
  void take();
  void put_back();

  TrainState& state_;
  at::Tensor trained_;  // undefined without an average
};

/// state.json: all but weights and moments. What may differ between equal runs is under "times".
Json state_to_json(const TrainState& state, const DataSums& sums, double seconds);
/// What a state.json tells besides the state itself.
struct SavedFacts {
  double seconds = 0;  // trained so far
  DataSums sums;
  std::string device;
  std::int64_t threads = 0;
};
/// Throws CheckpointError for what does not fit; messages begin with `where`.
SavedFacts read_facts(const Json& json, const std::string& where);
/// The reverse of state_to_json; throws CheckpointError for what does not fit.
void restore_state(const Json& json, const std::string& where, TrainState& state);

/// Where the time of one update went [s]. On CUDA backward runs on while the host waits in update.
struct StepSeconds {
  double data = 0, forward = 0, backward = 0;
  double update = 0;  // gradient norm and optimizer
};

/// Side losses without their weights, by SideTerm: means over layers and batches. NaN: none has it.
using SideMeans = std::array<double, kSideTerms>;

/// What one update measured.
struct StepResult {
  double loss = 0;       // cross-entropy of the batch before the update [nats/token]
  double grad_norm = 0;  // before clipping
  double learning_rate = 0;
  std::int64_t tokens = 0;
  double dropped_fraction = 0;                // of (token, choice) slots, where a capacity is set
  std::vector<double> dropped_by_layer = {};  // (L) the same of each layer's; empty without one
  SideMeans side_terms = {};
  StepSeconds seconds;
};

/// One update: gradients averaged over grad_accumulation batches, clipping, optimizer. Throws
/// NonFinite before anything is changed when the loss or the gradient is not finite.
StepResult train_step(TrainState& state);

/// A loss or gradient that is not finite, with what a person needs to look into it.
struct NonFinite {
  Json record;
};

}  // namespace moe
