#pragma once

#include <cstdint>
#include <filesystem>
#include <map>
#include <optional>
#include <string>
#include <string_view>

#include "moe/base/json.h"
#include "tracking/http.h"

namespace moe::tracking {

/// Where an MLflow server keeps a run.
struct MlflowRunRef {
  std::string run_id, artifact_uri;
};

/// A run that a server has already.
struct FoundMlflowRun {
  MlflowRunRef ref;
  std::map<std::string, std::string> params;
};

/// MLflow's REST interface, /api/2.0/mlflow, as far as it is needed. Every function throws
/// ResourceError: "<server>: <what it answered>; <what to do>".
class MlflowApi {
 public:
  /// `http` must outlive it.
  MlflowApi(Http& http, HttpAddress address) : http_(http), address_(std::move(address)) {}

  /// The experiment's id; it is made where there is none.
  std::string experiment_id(const std::string& name);
  /// The run that carries this tag.
  std::optional<FoundMlflowRun> find_run(const std::string& experiment_id, const std::string& tag,
                                         const std::string& value);
  /// `tags` is a list of {"key", "value"}.
  MlflowRunRef create_run(const std::string& experiment_id, const std::string& name,
                          std::int64_t start_ms, const Json& tags);
  /// `what` has any of "metrics", "params", "tags".
  void log_batch(const std::string& run_id, Json what);
  void update_run(const std::string& run_id, const std::string& status,
                  std::optional<std::int64_t> end_ms);
  /// `path` is the artifact's name in the run. Only where artifacts go through the server.
  void put_artifact(const MlflowRunRef& run, const std::string& path,
                    const std::filesystem::path& file);
  /// Whether they do: else they live in a store that the server only names, s3://...
  static bool takes_artifacts(const MlflowRunRef& run);

 private:
  HttpReply answer(const HttpRequest& request);
  Json call(const std::string& endpoint, const Json& body);
  [[noreturn]] void refuse(const HttpReply& reply) const;
  [[noreturn]] void refuse_move(const HttpReply& reply, std::string_view path) const;
  Json parsed(const HttpReply& reply) const;

  Http& http_;
  HttpAddress address_;
};

/// A metric's value: what JSON has no number for as the text that MLflow reads ("NaN",
/// "Infinity"), since a bare NaN would be stored as 0.
Json mlflow_value(double value);
/// A param's value: always a text, since a number would be stored as ""; at most 6000 bytes.
std::string mlflow_param(const Json& value);
/// `name` as MLflow takes it: letters, digits, _ - . and blanks in parts between single slashes, at
/// most 250 bytes; each other byte becomes "_".
std::string mlflow_name(const std::string& name);

}  // namespace moe::tracking
