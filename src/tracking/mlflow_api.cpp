#include "tracking/mlflow_api.h"

#include <algorithm>
#include <cmath>
#include <vector>

#include "moe/base/text.h"
#include "moe/tracking/flat_config.h"
#include "moe/tracking/run_facts.h"

namespace moe::tracking {

namespace {

constexpr int kOk = 200, kMoved = 300, kBadRequest = 400, kUnauthorized = 401, kForbidden = 403,
              kNotFound = 404;
constexpr JsonLimits kAnswerLimits{std::size_t{4} << 20, /*max_depth=*/32};
constexpr std::string_view kApi = "/api/2.0/mlflow/";
constexpr std::string_view kProxied = "mlflow-artifacts:";

/// The server's own words about a refusal, e.g. "RESOURCE_DOES_NOT_EXIST: ...".
std::string words_of(const HttpReply& reply) {
  constexpr std::size_t kShown = 200;
  try {
    const auto json = parse_json(reply.body, "answer", ErrorKind::resource, kAnswerLimits);
    return printable(cat(text_at(json, "error_code"), ": ", text_at(json, "message")), kShown,
                     Quotes::kept);
  } catch (const Error&) {
    return printable(reply.body, kShown, Quotes::kept);
  }
}

MlflowRunRef ref_of(const Json& run) {
  return {text_at(run, "info.run_id"), text_at(run, "info.artifact_uri")};
}

std::map<std::string, std::string> params_of(const Json& run) {
  std::map<std::string, std::string> out;
  const auto data = run.is_object() ? run.value("data", Json()) : Json();
  const auto params = data.is_object() ? data.value("params", Json()) : Json();
  for (const auto& param : params) out[text_at(param, "key")] = text_at(param, "value");
  return out;
}

}  // namespace

HttpReply MlflowApi::answer(const HttpRequest& request) {
  auto full = request;
  full.path = address_.path + request.path;
  try {
    auto reply = http_.send(full);
    if (reply.status >= kMoved && reply.status < kBadRequest) refuse_move(reply, full.path);
    return reply;
  } catch (const HttpFailure& failure) {
    throw ResourceError(
        cat(address_.origin, ": ", failure.what(), "; check the address and the server"));
  }
}

/// Logins go to no other server than the one that was named: it is for the user to name it.
void MlflowApi::refuse_move(const HttpReply& reply, std::string_view path) const {
  auto base = reply.location;
  if (base.starts_with('/')) base.insert(0, address_.origin);
  const auto call = path.substr(address_.path.size());
  const bool is_ours = base.ends_with(call);
  if (is_ours) base.resize(base.size() - call.size());
  const auto what = cat(address_.origin, ": answered ", reply.status, ", it has moved");
  if (base.empty()) throw ResourceError(cat(what, " and does not say where; check the address"));
  constexpr std::size_t kShown = 200;
  throw ResourceError(cat(what, " to ", printable(base, kShown), "; ",
                          is_ours ? "give that address" : "check the address",
                          " (tracking.mlflow.uri, or MLFLOW_TRACKING_URI)"));
}

void MlflowApi::refuse(const HttpReply& reply) const {
  if (reply.status == kUnauthorized || reply.status == kForbidden)
    throw ResourceError(cat(address_.origin, ": the login was refused (", reply.status,
                            "); set MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD, or "
                            "MLFLOW_TRACKING_TOKEN"));
  const auto words = words_of(reply);
  const bool is_gone = words.starts_with("RESOURCE_DOES_NOT_EXIST");
  throw ResourceError(cat(address_.origin, ": answered ", reply.status, " (", words, "); ",
                          is_gone ? "remove mlflow.json from the run folder to send the run anew"
                                  : "look into the server's log"));
}

Json MlflowApi::parsed(const HttpReply& reply) const {
  if (reply.status != kOk) refuse(reply);
  try {
    return parse_json(reply.body, "answer", ErrorKind::resource, kAnswerLimits);
  } catch (const Error&) {
    throw ResourceError(cat(address_.origin, ": answered something else than MLflow does (\"",
                            printable(reply.body), "\"); check the address"));
  }
}

Json MlflowApi::call(const std::string& endpoint, const Json& body) {
  return parsed(answer({"POST", cat(kApi, endpoint), json_text(body)}));
}

std::string MlflowApi::experiment_id(const std::string& name) {
  const HttpRequest by_name{
      "GET", cat(kApi, "experiments/get-by-name?experiment_name=", percent_encoded(name)), ""};
  auto reply = answer(by_name);
  if (reply.status == kNotFound) {
    reply = answer({"POST", cat(kApi, "experiments/create"), json_text({{"name", name}})});
    if (reply.status == kOk) return text_at(parsed(reply), "experiment_id");
    if (reply.status != kBadRequest) refuse(reply);
    const auto second = answer(by_name);  // another run may have made it in between
    if (second.status == kNotFound) refuse(reply);
    reply = second;
  }
  return text_at(parsed(reply), "experiment.experiment_id");
}

std::optional<FoundMlflowRun> MlflowApi::find_run(const std::string& experiment_id,
                                                  const std::string& tag,
                                                  const std::string& value) {
  const auto found = call("runs/search", {{"experiment_ids", Json::array({experiment_id})},
                                          {"filter", cat("tags.`", tag, "` = '", value, "'")},
                                          {"max_results", 1}});
  const auto runs = found.is_object() ? found.value("runs", Json::array()) : Json::array();
  if (!runs.is_array() || runs.empty()) return std::nullopt;
  return FoundMlflowRun{ref_of(runs[0]), params_of(runs[0])};
}

MlflowRunRef MlflowApi::create_run(const std::string& experiment_id, const std::string& name,
                                   std::int64_t start_ms, const Json& tags) {
  const auto answered = call("runs/create", {{"experiment_id", experiment_id},
                                             {"run_name", name},
                                             {"start_time", start_ms},
                                             {"tags", tags}});
  auto ref = ref_of(answered.is_object() ? answered.value("run", Json()) : Json());
  if (ref.run_id.empty())
    throw ResourceError(cat(address_.origin, ": made a run without an id; check the address"));
  return ref;
}

void MlflowApi::log_batch(const std::string& run_id, Json what) {
  what["run_id"] = run_id;
  call("runs/log-batch", what);
}

void MlflowApi::update_run(const std::string& run_id, const std::string& status,
                           std::optional<std::int64_t> end_ms) {
  Json body = {{"run_id", run_id}, {"status", status}};
  if (end_ms) body["end_time"] = *end_ms;
  call("runs/update", body);
}

bool MlflowApi::takes_artifacts(const MlflowRunRef& run) {
  return run.artifact_uri.starts_with(kProxied);
}

void MlflowApi::put_artifact(const MlflowRunRef& run, const std::string& path,
                             const std::filesystem::path& file) {
  auto root = run.artifact_uri.substr(kProxied.size());  // "/1/RUN_ID/artifacts", or "//HOST/1/..."
  if (root.starts_with("//")) root = root.substr(std::min(root.find('/', 2), root.size()));
  const auto reply =
      answer({"PUT", cat("/api/2.0/mlflow-artifacts/artifacts", root, "/", path), "", file});
  if (reply.status != kOk) refuse(reply);
}

Json mlflow_value(double value) {
  if (std::isnan(value)) return "NaN";
  if (std::isinf(value)) return value > 0 ? "Infinity" : "-Infinity";
  return value;
}

std::string mlflow_param(const Json& value) {
  constexpr std::size_t kLongest = 6000;
  auto text = plain_text(value);
  if (text.size() <= kLongest) return text;
  auto end = kLongest;
  while ((static_cast<unsigned char>(text[end]) & 0xC0U) == 0x80U) --end;  // not inside a symbol
  return text.substr(0, end);
}

std::string mlflow_name(const std::string& name) {
  constexpr std::size_t kLongest = 250;
  constexpr std::string_view kTaken =
      "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_-. /";
  std::vector<std::string> parts{""};
  for (const auto byte : name.substr(0, kLongest)) {
    if (byte == '/')
      parts.emplace_back();
    else
      parts.back() += kTaken.find(byte) == std::string_view::npos ? '_' : byte;
  }
  for (auto& part : parts)
    if (part.find_first_not_of('.') == std::string::npos)
      part = std::string(std::max<std::size_t>(part.size(), 1), '_');
  return join(parts, "/");
}

}  // namespace moe::tracking
