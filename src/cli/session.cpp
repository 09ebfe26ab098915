#include "cli/session.h"

#include <ATen/Context.h>
#include <ATen/Parallel.h>

#include <cstdlib>

#include "moe/base/system.h"
#include "moe/base/text.h"
#include "moe/config/load.h"
#include "moe/model/build.h"

namespace moe::cli {

at::Device prepare_device(const RunConfig& config, Log& log) {
  setenv("CUBLAS_WORKSPACE_CONFIG", ":4096:8", /*overwrite=*/0);  // read when CUDA starts
  at::set_num_threads(config.threads > 0 ? static_cast<int>(config.threads) : physical_cores());
  at::globalContext().setDeterministicAlgorithms(config.deterministic, /*warn_only=*/false);
  const auto device = choose_device(config.device);
  if (config.device == "auto" && device.is_cuda()) log.info("device: cuda (chosen by auto)");
  return device;
}

LoadedModel load_model(const std::string& checkpoint, const std::string& device,
                       const std::vector<std::string>& overrides, Log& log) {
  auto info = read_checkpoint_info(resolve_checkpoint(checkpoint));
  apply_overrides(info.config, overrides);
  if (const auto problems = config_problems(info.config); !problems.empty())
    throw ConfigError(join(problems, "\n"));
  info.config.device = device.empty() ? "auto" : device;
  const auto on = prepare_device(info.config, log);
  SparseMoELanguageModel model(info.config.model, info.tokenizer.vocab_size());
  model->to(on);
  FlatParameters flat(model);
  load_weights(info.ref, flat);
  return {std::move(info), on, model};
}

}  // namespace moe::cli
