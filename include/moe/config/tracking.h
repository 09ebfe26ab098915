#pragma once

#include <array>
#include <string>
#include <string_view>

#include "moe/config/field.h"

namespace moe {

// The keys under "tracking": where metrics go besides RUN/metrics.jsonl. A resumed run may change
// every one of them.

enum class MlflowArtifacts { none, files, best };
template <>
struct EnumNames<MlflowArtifacts> {
  static constexpr std::array<std::string_view, 3> names{"none", "files", "best"};
};

/// An MLflow server. User, password and token come from the environment alone, so that no file of a
/// run ever holds them.
struct MlflowConfig {
  std::string uri, experiment = "makemoe", run_name;
  MlflowArtifacts artifacts = MlflowArtifacts::files;
  double exit_wait = 5;

  static constexpr auto fields() {
    using C = MlflowConfig;
    constexpr auto kMay = OnResume::may_change;
    return std::tuple{
        Field{"uri", &C::uri,
              "server, http(s)://HOST[:PORT][/PATH]; empty: MLFLOW_TRACKING_URI; \"none\": off",
              Bounds{}, kMay},
        Field{"experiment", &C::experiment,
              "MLflow experiment; it is created if the server lacks it", Bounds{}, kMay},
        Field{"run_name", &C::run_name, "name of the run in MLflow; empty: the folder's name",
              Bounds{}, kMay},
        Field{"artifacts", &C::artifacts,
              "what is sent at the end: none, files (config and report), or best (the best "
              "checkpoint too)",
              Bounds{}, kMay},
        Field{"exit_wait", &C::exit_wait, "longest wait for the server at the end of the run [s]",
              between(0, 86400), kMay}};
  }
};
static_assert(table_is_complete<MlflowConfig>);

struct TrackingConfig {
  bool tensorboard = false;
  MlflowConfig mlflow;

  static constexpr auto fields() {
    using C = TrackingConfig;
    return std::tuple{Field{"tensorboard", &C::tensorboard,
                            "write event files for TensorBoard into the run folder", Bounds{},
                            OnResume::may_change},
                      Field{"mlflow", &C::mlflow, "an MLflow server"}};
  }
};
static_assert(table_is_complete<TrackingConfig>);

}  // namespace moe
