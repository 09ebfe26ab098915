#pragma once

#include <cstdint>
#include <filesystem>
#include <span>
#include <string>

#include "moe/base/file.h"
#include "moe/base/interrupt.h"
#include "moe/base/log.h"

namespace moe {

struct MlflowPush {
  std::string run_id, url;
  std::int64_t rows = 0;  // sent now
};

/// Sends what an MLflow server does not have yet of a run that has ended: rows, params, tags, how
/// it ended, artifacts. `overrides` are "tracking.KEY=VALUE" texts over the run's config. Throws
/// ConfigError where no server is named, ResourceError where the run is in use or, after a few
/// attempts, the server does not take it: nothing is lost then, and the next push goes on. Throws
/// Interrupted between attempts.
MlflowPush push_to_mlflow(const std::filesystem::path& run, std::span<const std::string> overrides,
                          const InterruptFlag& interrupt, FileLayer& files, Log& log);

}  // namespace moe
