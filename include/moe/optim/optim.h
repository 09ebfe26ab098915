#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "moe/config/config.h"
#include "moe/kernels/muon.h"
#include "moe/kernels/update_memory.h"
#include "moe/kernels/workspace.h"
#include "moe/spec/parameter_table.h"

namespace moe {

/// Learning rate of update `step` (1 for the first): linear warm-up over warmup_iters, then the
/// schedule down to final_learning_rate at max_iters.
double learning_rate_at(const OptimConfig& config, std::int64_t max_iters, std::int64_t step);

/// What weight decays count times at update `step` (1 for the first): 1, or, by the schedule, from
/// there down to 0 at max_iters.
double weight_decay_scale_at(const OptimConfig& config, std::int64_t max_iters, std::int64_t step);

/// Muon's momentum at update `step` (1 for the first): from its start, over warmup_iters, to what
/// it then stays.
double momentum_at(const OptimConfig& config, std::int64_t step);

/// Whether update `step` is in the part of the run whose weights are averaged.
bool is_averaged_at(const OptimConfig& config, std::int64_t max_iters, std::int64_t step);

/// Euclidean norm, summed in double. Waits for the device.
double l2_norm(const at::Tensor& flat);

/// What gradients of norm `norm` are multiplied by so that it is at most `max_norm`.
double clip_scale(double norm, double max_norm);

/// A stretch of the flat buffers.
struct Stretch {
  std::int64_t begin, count;
};

/// A stretch whose values AdamW updates alike.
struct OptimizerGroup : Stretch {
  double learning_rate_scale, weight_decay;
};

/// A stretch that is a stack of matrices (rows, columns), which Muon updates alike: in update t
/// (1 for the first) they move if t - 1 - turn is a multiple of `every`, then so many times as far.
struct MuonGroup : Stretch {
  std::int64_t rows, columns;
  double learning_rate_scale, weight_decay;
  std::int64_t every = 1, turn = 0;
};

/// Who updates what. The stretches of AdamW and Muon do not overlap and cover all parameters.
struct OptimizerPlan {
  std::vector<OptimizerGroup> adamw;
  std::vector<MuonGroup> muon = {};    // none unless optim.kind says so
  std::vector<Stretch> averaged = {};  // all but tables, if optim.average has a start
};

/// The parameters of a model in groups, as optim.groups has them; neighbours that AdamW updates
/// alike are one group. Muon's are the Linears' weights of the groups "matrix" and "expert"; a
/// matrix is the last two dimensions of a row.
OptimizerPlan plan_updates(const OptimConfig& config, const ParameterTable& table);

/// What an optimizer keeps of some of the parameters.
struct OptimizerState {
  std::string name;                // in checkpoints, before the parameter's
  at::Tensor values;               // of its stretches, one after another
  std::vector<Stretch> stretches;  // in the order of the flat buffers

  /// Of the parameters of a stretch that lies within one of these; undefined where none does.
  at::Tensor of(const Stretch& parameters) const;
};

/// The steps that a config names.
kernels::NewtonSchulz newton_schulz_of(const MuonConfig& config);

/// How many values an optimizer keeps in all, for the memory estimate.
std::int64_t count_optimizer_state(const OptimConfig& config, const ParameterTable& table);
/// What Muon works in, with libtorch's number of threads [bytes].
std::int64_t count_optimizer_scratch(const OptimConfig& config, const ParameterTable& table);
/// Floating-point operations of Newton-Schulz in an update, on the average.
double count_muon_flops(const OptimConfig& config, const ParameterTable& table);

/// What an update multiplies gradients (clipping) and weight decays (their schedule) by.
struct UpdateScale {
  double gradient = 1, weight_decay = 1;
};

/// AdamW, and Muon where the plan has stretches of it, over flat buffers. `state` and the count of
/// updates are all that a resume needs.
class Optimizer {
 public:
  /// AdamW, one group of all parameters (P), as the config says.
  Optimizer(const OptimConfig& config, const at::Tensor& parameters);
  Optimizer(const OptimConfig& config, OptimizerPlan plan, const at::Tensor& parameters);

  /// `learning_rate` is AdamW's; Muon's is in the same proportion to its peak. Gradients are left
  /// as they are on the CPU.
  void step(at::Tensor& parameters, at::Tensor& gradients, double learning_rate,
            const UpdateScale& scale = {});

  /// Update `step` (1 for the first), and its average, of weights on a device, where `memory` says
  /// what changes from one to the next: nothing waits, and nothing is counted.
  void step_from_memory(at::Tensor& parameters, at::Tensor& gradients, std::int64_t step,
                        const kernels::UpdateMemory& memory) const;
  /// Updates of one phase are the same operations: those where the same experts have their turn.
  std::int64_t phase_of(std::int64_t step) const;
  /// How much of the new weights the average takes (kernels::kAverageWeight).
  double average_weight(bool is_averaged) const;

  /// Takes the weights that an update has left into the average; the first ones begin it. If the
  /// update is not one whose weights are averaged, what there is is forgotten.
  void average(const at::Tensor& parameters, bool is_averaged);
  /// From weights to train on to those to evaluate with: optim.average.blend of the average, in
  /// place.
  void blend(at::Tensor& parameters) const;
  /// Whether the plan has an average, begun or not: then both kinds of weights are to be kept.
  bool has_average() const { return !plan_.averaged.empty(); }

  /// What it keeps of the parameters; "average" comes last.
  const std::vector<OptimizerState>& state() const { return state_; }
  const at::Tensor& state(std::string_view name) const;

  std::int64_t steps = 0;           // updates so far
  std::int64_t averaged_steps = 0;  // those whose weights are in the average

 private:
  void step_adamw(at::Tensor& parameters, at::Tensor& gradients, double learning_rate,
                  const UpdateScale& scale);
  void step_muon(at::Tensor& parameters, at::Tensor& gradients, double rate_scale,
                 const UpdateScale& scale);
  bool applies(const MuonGroup& group, std::int64_t step) const;

  OptimConfig config_;
  OptimizerPlan plan_;
  std::vector<OptimizerState> state_;
  kernels::NewtonSchulz newton_schulz_;
  kernels::Workspace workspace_;  // of Muon
};

}  // namespace moe
