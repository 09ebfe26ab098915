#include "cli/session.h"

#include <ATen/Context.h>
#include <ATen/Parallel.h>

#include <CLI/CLI.hpp>
#include <cstdlib>
#include <optional>

#include "moe/base/system.h"
#include "moe/base/text.h"
#include "moe/config/load.h"
#include "moe/model/build.h"

namespace moe::cli {

namespace {

/// The threads to compute with. OpenMP ends the process when the system refuses it one: whether
/// they can be had is asked before.
int checked_threads(const RunConfig& config, Log& log) {
  const auto open = default_threads();
  if (config.threads == 0 && !open.notice.empty()) log.warn(open.notice);
  const int wanted = config.threads > 0 ? static_cast<int>(config.threads) : open.count;
  const int helpers = wanted - 1;
  constexpr int kPools = 3;  // OpenMP's, libtorch's own, and that of our kernels
  const int had = helpers == 0 ? 0 : startable_threads(kPools * helpers) / kPools;
  if (had == helpers) return wanted;
  const auto what = cat("threads: the system lets this process start ", had + 1, " of ", wanted);
  constexpr auto kRemedy = "raise its limits on processes and memory (ulimit -u, ulimit -v)";
  if (config.threads > 0) throw ResourceError(cat(what, "; lower threads, or ", kRemedy));
  log.warn(cat(what, ", with which it makes do; for more, ", kRemedy));
  return had + 1;
}

}  // namespace

at::Device prepare_device(const RunConfig& config, Log& log) {
  setenv("CUBLAS_WORKSPACE_CONFIG", ":4096:8", /*overwrite=*/0);  // read when CUDA starts
  at::set_num_threads(checked_threads(config, log));
  at::globalContext().setDeterministicAlgorithms(config.deterministic, /*warn_only=*/false);
  const auto device = choose_device(config.device);
  if (config.device == "auto" && device.is_cuda()) log.info("device: cuda (chosen by auto)");
  return device;
}

void add_checkpoint(CLI::App& command, CheckpointArgs& args) {
  command
      .add_option("checkpoint", args.name,
                  "run folder (its best checkpoint, or its last if it has no best), RUN@best, "
                  "RUN@last, RUN@STEP, or a checkpoint folder")
      ->required();
  add_allow_nonfinite(command, args.values);
}

void add_allow_nonfinite(CLI::App& command, WeightValues& values) {
  command.add_flag_callback(
      "--allow-nonfinite", [&values] { values = WeightValues::any; },
      "load weights with NaN or infinity, to look into them; default: refuse them");
}

namespace {

/// Before anything is allocated: a config that asks for far more than the files hold is not theirs.
/// A small difference is left to the reader of the weights, which lists it tensor by tensor.
void require_weights_for(const CheckpointInfo& info) {
  constexpr double kFar = 16;
  const auto wanted = count_parameters(info.config.model, info.vocabulary());
  if (static_cast<double>(wanted) * sizeof(float) > kFar * static_cast<double>(info.bytes))
    throw CheckpointError(cat((info.ref.folder / "model.safetensors").string(),
                              ": holds far fewer values than the ", grouped(wanted),
                              " parameters that config.json asks for; use another checkpoint"));
}

LoadedModel build_loaded(CheckpointInfo info, WeightValues values, const std::string& device,
                         const std::vector<std::string>& overrides, Log& log) {
  apply_overrides(info.config, overrides);
  if (const auto problems = config_problems(info.config); !problems.empty())
    throw ConfigError(join(problems, "\n"));
  require_weights_for(info);
  constexpr double kHeld = 3;  // values, gradients, and the model that they are taken from
  require_memory(kHeld * sizeof(float) *
                     static_cast<double>(count_parameters(info.config.model, info.vocabulary())),
                 cat(info.ref.folder.string(), ": its model needs"),
                 "use a machine with more memory");
  info.config.device = device.empty() ? "auto" : device;
  const auto on = prepare_device(info.config, log);
  SparseMoELanguageModel model(info.config.model, info.vocabulary());
  model->to(on);
  FlatParameters flat(model);
  load_weights(info.ref, flat, values);
  return {std::move(info), on, model};
}

}  // namespace

LoadedModel load_model(const CheckpointArgs& checkpoint, const std::string& device,
                       const std::vector<std::string>& overrides, Log& log) {
  std::optional<LoadedModel> loaded;
  load_noticed(checkpoint.name, log, [&](const CheckpointInfo& info) {
    loaded = build_loaded(info, checkpoint.values, device, overrides, log);
  });
  return std::move(*loaded);
}

}  // namespace moe::cli
