#pragma once

#include <cstdint>
#include <map>
#include <set>
#include <string>
#include <tuple>
#include <vector>

#include "moe/base/json.h"
#include "moe/base/text.h"
#include "src/tracking/http.h"

namespace moe::test {

/// As much of an MLflow server as MlflowRun asks for, in this process. As the real one, it keeps a
/// metric with the same key, time, step and value once.
class FakeMlflow : public tracking::Http {
 public:
  enum class Fault { none, refused, answer_lost, error_500, login_refused };
  using Metric = std::tuple<std::string, std::int64_t, std::int64_t, std::string>;

  struct Run {
    std::string experiment, name, status = "RUNNING";
    std::map<std::string, std::string> tags, params;
    std::multiset<Metric> metrics;
    std::map<std::string, std::string> artifacts;
  };

  /// The `at`-th request from now on (from 1), and all later ones when `sticky`, meets the fault.
  void fail(Fault fault, int at = 1, bool sticky = false) {
    fault_ = fault;
    due_ = requests + at;
    sticky_ = sticky;
  }

  tracking::HttpReply send(const tracking::HttpRequest& request) override {
    ++requests;
    const bool due = sticky_ ? requests >= due_ : requests == due_;
    const auto fault = due ? fault_ : Fault::none;
    if (fault == Fault::refused) throw tracking::HttpFailure("no connection");
    if (fault == Fault::error_500) return {500, "<html>oops</html>"};
    if (fault == Fault::login_refused) return {401, "who are you?"};
    const auto reply = answer(request);
    if (fault == Fault::answer_lost) throw tracking::HttpFailure("no answer, or not in time");
    return reply;
  }
  void cancel() override {}

  std::map<std::string, Run> runs;
  std::vector<std::string> experiments;
  std::size_t largest_batch = 0;
  int requests = 0;

 private:
  static tracking::HttpReply refused(int status, const std::string& code) {
    return {status, json_text({{"error_code", code}, {"message", "as asked for"}})};
  }
  static Json info(const std::string& id) {
    return {{"info", {{"run_id", id}, {"artifact_uri", cat("mlflow-artifacts:/0/", id)}}}};
  }

  tracking::HttpReply answer(const tracking::HttpRequest& request) {
    const auto body =
        request.body.empty() ? Json::object() : parse_json(request.body, "body", ErrorKind::data);
    const auto is = [&](const char* end) { return request.path.find(end) != std::string::npos; };
    if (is("experiments/get-by-name")) return get_experiment(request.path);
    if (is("experiments/create")) {
      experiments.push_back(body.at("name"));
      return {200, R"({"experiment_id": "0"})"};
    }
    if (is("runs/search")) return search(body);
    if (is("runs/create")) return create(body);
    if (body.contains("run_id") && !runs.contains(body.at("run_id")))
      return refused(404, "RESOURCE_DOES_NOT_EXIST");
    if (is("runs/log-batch")) return log_batch(body);
    if (is("runs/update")) {
      runs.at(body.at("run_id")).status = body.at("status");
      return {200, "{}"};
    }
    if (request.method == "PUT" && request.file) {
      const std::string marker = "/artifacts/0/";
      const auto rest = request.path.substr(request.path.find(marker) + marker.size());
      const auto slash = rest.find('/');
      runs.at(rest.substr(0, slash)).artifacts[rest.substr(slash + 1)] = request.file->string();
      return {200, "{}"};
    }
    return refused(404, "ENDPOINT_NOT_FOUND");
  }

  tracking::HttpReply get_experiment(const std::string& path) {
    const auto name = path.substr(path.find('=') + 1);
    for (const auto& known : experiments)
      if (tracking::percent_encoded(known) == name)
        return {200, R"({"experiment": {"experiment_id": "0"}})"};
    return refused(404, "RESOURCE_DOES_NOT_EXIST");
  }

  tracking::HttpReply search(const Json& body) {
    const auto filter = body.at("filter").get<std::string>();
    auto found = Json::array();
    for (const auto& [id, run] : runs)
      for (const auto& [key, value] : run.tags)
        if (filter == cat("tags.`", key, "` = '", value, "'")) found.push_back(info(id));
    return {200, json_text({{"runs", found}})};
  }

  tracking::HttpReply create(const Json& body) {
    const auto id = cat("run", runs.size());
    auto& run = runs[id];
    run.name = body.at("run_name");
    for (const auto& tag : body.at("tags")) run.tags[tag.at("key")] = tag.at("value");
    return {200, json_text({{"run", info(id)}})};
  }

  tracking::HttpReply log_batch(const Json& body) {
    auto& run = runs.at(body.at("run_id"));
    const auto metrics = body.value("metrics", Json::array());
    largest_batch = std::max(largest_batch, metrics.size());
    if (metrics.size() > 1000) return refused(400, "INVALID_PARAMETER_VALUE");
    for (const auto& metric : metrics) {
      const Metric entry{metric.at("key"), metric.at("timestamp"), metric.at("step"),
                         json_text(metric.at("value"))};
      if (!run.metrics.contains(entry)) run.metrics.insert(entry);
    }
    for (const auto& param : body.value("params", Json::array())) {
      const auto [at, is_new] = run.params.emplace(param.at("key"), param.at("value"));
      if (!is_new && at->second != param.at("value").get<std::string>())
        return refused(400, "INVALID_PARAMETER_VALUE");
    }
    for (const auto& tag : body.value("tags", Json::array()))
      run.tags[tag.at("key")] = tag.at("value");
    return {200, "{}"};
  }

  Fault fault_ = Fault::none;
  int due_ = 0;
  bool sticky_ = false;
};

}  // namespace moe::test
