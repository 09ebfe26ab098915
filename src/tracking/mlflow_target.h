#pragma once

#include <optional>

#include "moe/config/config.h"
#include "tracking/http.h"

namespace moe::tracking {

/// The server that config and environment name.
struct MlflowTarget {
  HttpAddress address;
  HttpLogin login;
};

/// nullopt where none is wanted. Throws ConfigError where MLFLOW_TRACKING_URI is no http address.
std::optional<MlflowTarget> mlflow_target(const MlflowConfig& config);

}  // namespace moe::tracking
