#include "moe/timing/prediction.h"

#include "moe/model/build.h"

namespace moe {

namespace {

/// An array is written once, read by the next stage, and read again by backward or as a gradient.
constexpr double kPasses = 3;

/// Gradients are read once; weights and what the optimizer keeps are read and written.
double update_bytes(const TrainState& state) {
  const auto values = static_cast<double>(state.flat.values().nbytes());
  double kept = 0;
  for (const auto& part : state.optimizer.state())
    kept += static_cast<double>(part.values.nbytes());
  return 3 * values + 2 * kept;
}

}  // namespace

StepWork count_step_work(const TrainState& state) {
  const auto& model = state.config.model;
  const auto& train = state.config.train;
  const auto parts = static_cast<double>(train.grad_accumulation);
  const auto arrays =
      state.model->planned_memory(train.batch_size, model.block_size, /*training=*/true);
  return {count_step_flops(model, state.model->spec().vocabulary(),
                           train.batch_size * train.grad_accumulation),
          count_muon_flops(state.config.optim, state.flat.table()),
          kPasses * parts * static_cast<double>(arrays), update_bytes(state)};
}

StepPrediction predict_step(const StepWork& work, const MachineRates& machine,
                            double newton_schulz_rate) {
  return {work.products / machine.product,
          work.newton_schulz > 0 ? work.newton_schulz / newton_schulz_rate : 0,
          work.arrays / machine.memory, work.update / machine.memory};
}

}  // namespace moe
