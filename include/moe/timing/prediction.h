#pragma once

#include "moe/timing/machine_rates.h"
#include "moe/train/state.h"

namespace moe {

/// What one training step has to do, counted from the description of the model and the optimizer,
/// so that its time can be said before it is measured. Left out: what a pass costs besides reading
/// and writing (exponentials, draws), and the counting pass of a balance loss over several
/// micro-batches.
struct StepWork {
  double products = 0;       // of matrix products but Newton-Schulz's, forward and backward [FLOP]
  double newton_schulz = 0;  // those that are really done, an update on the average [FLOP]
  double arrays = 0;         // what stages hand to the next and to backward, read and written [B]
  double update = 0;         // gradients, weights and what the optimizer keeps, likewise [B]
};
StepWork count_step_work(const TrainState& state);

/// What each part of the work should take [s].
struct StepPrediction {
  double products = 0, newton_schulz = 0, arrays = 0, update = 0;
  double all() const { return products + newton_schulz + arrays + update; }
};
/// `newton_schulz_rate` [FLOP/s], of its own kernels; not read where there is no such work.
StepPrediction predict_step(const StepWork& work, const MachineRates& machine,
                            double newton_schulz_rate);

}  // namespace moe
