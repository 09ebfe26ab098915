#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <optional>
#include <string>
#include <string_view>

#include "moe/base/file.h"
#include "moe/base/interrupt.h"
#include "moe/base/log.h"
#include "moe/config/config.h"

namespace moe {

struct TrainRequest {
  RunConfig config;           // resolved; data.path names the text
  std::filesystem::path out;  // RUN
  bool resume = false;
  std::optional<std::int64_t> stop_after;
  std::string init_from;  // CHECKPOINT, or empty
  /// Called when run.json says how the run ended, and before the sinks end, which may send what it
  /// writes into the run folder. Must not throw.
  std::function<void(const std::filesystem::path& run)> on_end = {};
  bool out_is_default = false;  // nobody named `out`: where it is taken, the next free name
};

/// What ended a session; its names are those of run.json and train --json.
enum class EndedBy { max_iters, early_stopping, stop_after, signal };
std::string_view name_of(EndedBy ended_by);

struct TrainSummary {
  std::filesystem::path run;
  std::int64_t step = 0, best_step = 0;
  double best_val_loss = 0;
  double seconds = 0;
  EndedBy ended_by = EndedBy::max_iters;
  int signal = 0;  // not 0: stopped by it after saving
};

/// Trains as docs/formats.md says. Throws moe::Error kinds; on a non-finite loss a NumericsError
/// after writing RUN/nonfinite.json, the last good checkpoint untouched.
TrainSummary train(const TrainRequest& request, const InterruptFlag& interrupt, Log& log,
                   FileLayer& files);

/// Throws ResourceError where device or processor do not have train.precision, ConfigError where
/// the kernels do not.
void check_precision(const RunConfig& config);

/// A text as training meets it.
struct TextSize {
  std::int64_t bytes = 0;           // of UTF-8, while it is read
  std::int64_t held = 0;            // ids that there is room for
  std::int64_t train = 0, val = 0;  // ids
};

/// What training holds, by what it grows with [bytes].
struct MemoryEstimate {
  double process = 0;  // before the text is read: the program and libtorch
  double reading = 0;  // the text and its ids, before there is a model
  double text = 0, batch = 0, model = 0;
  int cuda_device = -1;  // that holds batch and model; negative: the host does
  double staging = 0;    // of the host beside one: the model as it is drawn, and each checkpoint

  /// Of the host's memory, at the peak.
  std::int64_t total() const;
  /// Of the device's own; 0 on a CPU.
  std::int64_t on_device() const;
};

/// `process` is what was resident before the text was read. The device need not be there.
MemoryEstimate estimate_memory(const RunConfig& config, const Vocabulary& vocabulary,
                               const TextSize& text, std::int64_t process);

/// What a run asks for before it begins.
struct TrainRequirements {
  Vocabulary vocabulary;
  MemoryEstimate memory;
};
/// The vocabulary is that of the checkpoint which the run resumes from or begins with, else of its
/// text. Reads that text; throws as train() for what does not fit.
TrainRequirements requirements_of(const TrainRequest& request, Log& log);

/// Throws ResourceError if that is more than this process can have in all, or than is free on the
/// device, saying that `what` needs it. Names what to lower: the keys of the largest part.
void check_memory(const MemoryEstimate& needed, std::string_view what = "training");

}  // namespace moe
