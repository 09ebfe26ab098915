#pragma once

#include <ATen/core/Tensor.h>

#include <filesystem>
#include <optional>

#include "moe/base/log.h"
#include "moe/store/checkpoints.h"
#include "moe/train/material.h"
#include "moe/train/trainer.h"

namespace moe {

/// What RUN/config.json says; nullopt where there is none.
std::optional<RunConfig> saved_config(const std::filesystem::path& run);

/// What a run begins with.
struct Beginning {
  Material material;
  std::optional<NewestSound> own;  // to continue from
  at::Tensor weights;              // else those of --init-from; undefined without it
};

/// Reads checkpoint and texts, and throws for all that can be refused before the run folder is made
/// or written to: kinds of Error as train() says.
Beginning prepare(const TrainRequest& request, Log& log, FileLayer& files);

}  // namespace moe
