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

/// Bytes that training needs: parameters, gradients, moments, activations [bytes].
std::int64_t estimate_memory(const RunConfig& config, std::int64_t vocab_size);

/// Throws ResourceError naming the keys to lower where that is more than is available.
void check_memory(const RunConfig& config, std::int64_t vocab_size);

}  // namespace moe
