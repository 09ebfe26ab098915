#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <map>
#include <memory>
#include <vector>

#include "moe/kernels/update_memory.h"
#include "moe/train/state.h"

namespace moe {

class Recorder;
class Recording;

/// Updates of a state on a device, which the host starts and does not wait for (docs/adr/0055):
/// all arithmetic, clipping and the guard against values that are not finite lie there. Where the
/// device records, each is one call.
class DeviceUpdates {
 public:
  /// `records`: whether updates are recorded and repeated; else their operations are started one by
  /// one, which is the twin. Results are the same.
  DeviceUpdates(TrainState& state, bool records);
  ~DeviceUpdates();
  /// Whether a run makes a state's updates in this way. The readable modules wait for values.
  static bool suit(const TrainState& state);

  /// Starts one more; the state counts it as made.
  void start();
  /// Whether some were started since `read`.
  bool is_ahead() const { return started_ > 0; }
  /// Waits, and tells of the last one; `tokens` are of all since the last call. If one of them was
  /// not finite, it and those after it have changed nothing: the state is as it was before it, and
  /// it is made again in view of the host, which throws NonFinite.
  StepResult read();

 private:
  struct Batch {
    at::Tensor ids, targets;  // (B, T) int64, pieces of inputs_
    kernels::RowIds rows;
  };
  struct Phase {
    bool is_warm = false;  // what is made once is there
    std::unique_ptr<Recording> recording;
  };

  std::int64_t tokens() const { return inputs_.numel() / 2; }  // of an update
  /// What the state knows of an update that was started.
  void count(std::int64_t update);
  void send_inputs(std::uint64_t key);
  void send_schedule(std::int64_t update);
  /// What is recorded.
  void compute(std::uint64_t key);
  void accumulate(std::uint64_t key);
  void sum_ahead(std::uint64_t key);
  ForwardContext context_of(const Batch& batch, std::uint64_t key) const;
  /// Undoes what the state counted after `sound` updates, and makes the next one again.
  StepResult take_back(std::int64_t sound);

  TrainState& state_;
  std::unique_ptr<Recorder> recorder_;  // null: nothing is recorded
  at::Tensor inputs_;           // (2 A B T + 1) int64: ids and targets, batch by batch, and the key
  at::Tensor key_;              // (1), the end of inputs_
  std::vector<Batch> batches_;  // A of them
  kernels::UpdateMemory memory_;
  at::Tensor share_;  // () float 1 / A
  kernels::UpdateFigures figures_;
  at::Tensor terms_;                      // (L, kSideTerms) double, sums over batches
  at::Tensor served_;                     // (L, E) int64
  std::map<std::int64_t, Phase> phases_;  // by Optimizer::phase_of
  // Of the updates since `read`:
  std::int64_t started_ = 0;
  Progression before_;
  Json cursor_;
  std::int64_t averaged_before_ = 0;
};

}  // namespace moe
