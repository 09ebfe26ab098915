#include "tracking/mlflow_target.h"

#include <cstdlib>
#include <string>

#include "moe/base/error.h"
#include "moe/base/text.h"

namespace moe::tracking {

namespace {

std::string environment(const char* name) {
  const auto* value = std::getenv(name);
  return value == nullptr ? "" : value;
}

}  // namespace

std::optional<MlflowTarget> mlflow_target(const MlflowConfig& config) {
  if (config.uri == "none") return std::nullopt;
  const bool is_configured = !config.uri.empty();
  const auto uri = is_configured ? config.uri : environment("MLFLOW_TRACKING_URI");
  if (uri.empty()) return std::nullopt;
  auto address = parse_address(uri);
  if (!address)
    throw ConfigError(cat(is_configured ? "tracking.mlflow.uri" : "MLFLOW_TRACKING_URI", ": \"",
                          printable(uri),
                          "\" is no address of a server; give http://HOST:PORT or "
                          "https://HOST, or set tracking.mlflow.uri to \"none\""));
  const auto insecure = environment("MLFLOW_TRACKING_INSECURE_TLS");
  return MlflowTarget{
      *address,
      {environment("MLFLOW_TRACKING_USERNAME"), environment("MLFLOW_TRACKING_PASSWORD"),
       environment("MLFLOW_TRACKING_TOKEN"), insecure == "true" || insecure == "1",
       environment("MLFLOW_TRACKING_SERVER_CERT_PATH")}};
}

}  // namespace moe::tracking
