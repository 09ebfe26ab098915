#pragma once

#include <functional>
#include <memory>
#include <string>

#include "moe/base/log.h"
#include "moe/checkpoint/checkpoint.h"
#include "moe/model/language_model.h"

namespace CLI {
class App;
}

namespace moe::cli {

/// Sets threads and determinism as the config says; returns the device. CUDA must not have started.
at::Device prepare_device(const RunConfig& config, Log& log);

/// A checkpoint ready to compute with.
struct LoadedModel {
  CheckpointInfo info;
  at::Device device;
  SparseMoELanguageModel model;
};

/// A checkpoint on the command line.
struct CheckpointArgs {
  std::string name;
  WeightValues values = WeightValues::finite;
};
/// CHECKPOINT and --allow-nonfinite; `args` must outlive the parsing.
void add_checkpoint(CLI::App& command, CheckpointArgs& args);
void add_allow_nonfinite(CLI::App& command, WeightValues& values);

/// Loads a checkpoint by its command-line name; `device` "" means "auto". `overrides` are --set
/// texts over the checkpoint's config.
LoadedModel load_model(const CheckpointArgs& checkpoint, const std::string& device,
                       const std::vector<std::string>& overrides, Log& log);

}  // namespace moe::cli
