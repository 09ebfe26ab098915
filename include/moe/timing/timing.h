#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "moe/base/interrupt.h"
#include "moe/base/log.h"
#include "moe/config/config.h"
#include "moe/timing/machine_rates.h"
#include "moe/timing/prediction.h"
#include "moe/train/state.h"

namespace moe {

/// What is timed.
struct TimingRequest {
  RunConfig config;  // resolved; random tokens take the place of a text where it names none
  at::Device device = at::kCPU;
  std::int64_t steps = 30;  // of training
  bool compares = false;    // also with fewer threads, and with the reference kernels
};

/// Medians of a training step and of its parts [s].
struct StepTimes {
  double step = 0;
  std::optional<StepSeconds> parts;  // none where updates are started ahead (DeviceUpdates)
};

/// Tokens drawn in a second, all sequences together.
struct GenerationRates {
  std::optional<double> within_context;  // from one symbol to a full context, where it has several
  double beyond_context = 0;             // where the window is computed anew for each token
};

/// Newton-Schulz of one update, on the average, and at which rate it runs alone.
struct NewtonSchulzUse {
  double flops = 0, rate = 0;  // those that are really done; [FLOP/s]
  double seconds() const { return flops / rate; }
};

/// What the machine can do, and what a training step makes of it.
struct MachineUse {
  MachineRates machine;
  double step_flops = 0;                         // [FLOP/s]
  std::optional<NewtonSchulzUse> newton_schulz;  // if the optimizer is Muon
  // What the products of a step, and the memory that its update moves, would take alone [s].
  double products = 0, update = 0;
  double over_floor = 0;                  // a step's time, as a multiple of the two together
  StepPrediction prediction;              // from the step's work and these rates
  std::string_view product_instructions;  // of the fast kernels on a CPU; else ""
};

/// The same training in other ways.
struct TimingComparison {
  std::vector<std::pair<int, double>> steps_by_threads;  // on fewer threads: a step [s]
  double reference_step = 0;                             // with the reference kernels [s]
  double reference_evaluation = 0;                       // tokens a second
};

struct Timings {
  StepTimes step;
  double train_rate = 0, evaluation_rate = 0;  // tokens a second
  double generation_rate = 0;                  // of one sequence: 100 tokens after one symbol
  GenerationRates of_one, of_32;               // sequences at once
  int threads = 0;
  std::int64_t peak_memory = 0;  // of all above [bytes]
  std::optional<TimingComparison> comparison;
  MachineUse machine;
};

/// Throws ResourceError where the memory is not there, NumericsError where the loss is not finite,
/// Interrupted where a signal asks to stop, and what training throws for its config and text.
Timings measure_timings(const TimingRequest& request, const InterruptFlag& interrupt, Log& log);

}  // namespace moe
