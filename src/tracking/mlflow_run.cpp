#include "tracking/mlflow_run.h"

#include <algorithm>
#include <cmath>

#include "moe/base/sha256.h"
#include "moe/base/text.h"
#include "moe/store/checkpoints.h"
#include "moe/tracking/run_facts.h"

namespace moe::tracking {

namespace {

constexpr const char* kStateFile = "mlflow.json";
constexpr const char* kIdTag = "makemoe.id";
constexpr std::size_t kMostParams = 100;  // MLflow refuses more in a batch

std::int64_t milliseconds(const Json& facts, const char* key) {
  return std::llround(unix_seconds(text_at(facts, key)) * 1000);
}

/// MLflow's word for run.json's. A run that says "running" and is not is one that was killed.
std::string status_of(const std::string& status) {
  if (status == "finished") return "FINISHED";
  return status == "interrupted" || status == "stopped" ? "KILLED" : "FAILED";
}

std::string folder_name(const fs::path& run) {
  std::error_code ignored;
  return fs::weakly_canonical(run, ignored).filename().string();
}

Json sent_to_json(const SentRows& sent) { return {{"step", sent.step}, {"names", sent.names}}; }

SentRows sent_from_json(const Json& json) {
  SentRows sent;
  const auto step = json.is_object() ? json.value("step", Json()) : Json();
  if (!step.is_number_integer()) return sent;
  sent.step = step.get<std::int64_t>();
  for (const auto& name : json.value("names", Json::array()))
    if (name.is_string()) sent.names.insert(name.get<std::string>());
  return sent;
}

Json tag(const std::string& key, const std::string& value) {
  return {{"key", key}, {"value", value}};
}

}  // namespace

MlflowRun::MlflowRun(fs::path run, const RunConfig& config, Http& http, HttpAddress address,
                     FileLayer& files, Log& log)
    : run_(std::move(run)),
      wanted_(config.tracking.mlflow),
      params_(flat_config(config)),
      facts_(read_object(run_ / "run.json")),
      start_ms_(milliseconds(facts_, "start")),
      api_(http, address),
      address_(std::move(address)),
      files_(files),
      log_(log),
      reader_(run_ / "metrics.jsonl") {
  load();
}

void MlflowRun::load() {
  const auto state = read_object(run_ / kStateFile);
  // Another server or experiment has another run, to which nothing was sent.
  if (text_at(state, "uri") != cat(address_.origin, address_.path)) return;
  if (text_at(state, "experiment") != wanted_.experiment) return;
  experiment_id_ = text_at(state, "experiment_id");
  ref_ = {text_at(state, "run_id"), text_at(state, "artifact_uri")};
  status_ = text_at(state, "status");
  has_params_ = state.value("has_params", Json()) == true;
  if (const auto params = state.value("params", Json()); params.is_object()) {
    params_.clear();
    for (const auto& [key, value] : params.items()) params_.emplace_back(key, value);
  }
  sent_ = sent_from_json(state.value("sent", Json()));
  const auto flying = state.value("in_flight", Json());
  if (!flying.is_object() || !flying.value("metrics", Json()).is_array()) return;
  in_flight_ = MetricBatch{flying["metrics"], sent_from_json(flying.value("after", Json()))};
  if (const auto rows = flying.value("rows", Json()); rows.is_number_integer())
    in_flight_->rows = rows.get<std::int64_t>();
}

void MlflowRun::save() {
  Json state = {{"uri", cat(address_.origin, address_.path)},
                {"experiment", wanted_.experiment},
                {"experiment_id", experiment_id_},
                {"run_id", ref_.run_id},
                {"artifact_uri", ref_.artifact_uri},
                {"status", status_},
                {"has_params", has_params_},
                {"sent", sent_to_json(sent_)}};
  // Until they are confirmed: MLflow never lets them change, and a resumed run's may be others.
  if (!has_params_)
    for (const auto& [key, value] : params_) state["params"][key] = value;
  if (in_flight_)
    state["in_flight"] = {{"metrics", in_flight_->metrics},
                          {"after", sent_to_json(in_flight_->after)},
                          {"rows", in_flight_->rows}};
  try {
    files_.replace(run_ / kStateFile, json_text(state, 2) + "\n");
  } catch (const ResourceError& error) {
    // The run is found again by its tag, and the server keeps a metric that comes twice once.
    if (!warned_) log_.warn(cat(error.what(), " (rows are sent all the same)"));
    warned_ = true;
  }
}

Json MlflowRun::tags() const {
  auto out = Json::array({tag("mlflow.source.name", "makemoe")});
  for (const auto* key : {"version", "commit", "device", "host"})
    if (const auto value = text_at(facts_, key); !value.empty())
      out.push_back(tag(cat("makemoe.", key), value));
  out.push_back(tag("makemoe.folder", run_.string()));
  if (const auto data = text_at(facts_, "data.sha256"); !data.empty())
    out.push_back(tag("makemoe.data_sha256", data));
  return out;
}

void MlflowRun::find_or_create() {
  // The same for each attempt, also where no file could be written: a run whose creation was not
  // confirmed is found again by it.
  std::error_code ignored;
  const auto id = sha256_hex(cat(text_at(facts_, "host"), "\n", text_at(facts_, "start"), "\n",
                                 fs::weakly_canonical(run_, ignored).string()));
  if (const auto found = api_.find_run(experiment_id_, kIdTag, id)) {
    ref_ = found->ref;
    there_ = found->params;
    return;
  }
  auto with_id = tags();
  with_id.push_back(tag(kIdTag, id));
  const auto name = wanted_.run_name.empty() ? folder_name(run_) : wanted_.run_name;
  ref_ = api_.create_run(experiment_id_, name, start_ms_, with_id);
  status_ = "RUNNING";
}

/// Those that the server has stay as they are: one that changed would be refused, and the rest of
/// its batch with it.
void MlflowRun::send_params() {
  std::vector<std::string> kept;
  auto batch = Json::array();
  const auto send = [&] {
    if (!batch.empty()) api_.log_batch(ref_.run_id, {{"params", batch}});
    batch = Json::array();
  };
  for (const auto& [key, value] : params_) {
    const auto name = mlflow_name(key), text = mlflow_param(value);
    if (const auto found = there_.find(name); found != there_.end()) {
      if (found->second != text) kept.push_back(key);
      continue;
    }
    batch.push_back({{"key", name}, {"value", text}});
    if (batch.size() == kMostParams) send();
  }
  send();
  has_params_ = true;
  warn_of_kept_params(std::move(kept));
}

void MlflowRun::warn_of_kept_params(std::vector<std::string> keys) {
  if (keys.empty()) return;
  log_.warn(
      cat("mlflow: the run there keeps the params that it began with, since MLflow does not "
          "let them change: ",
          join(keys, ", ")));
}

void MlflowRun::announce() {
  if (!ref_.run_id.empty() && has_params_) return;
  if (experiment_id_.empty()) experiment_id_ = api_.experiment_id(wanted_.experiment);
  if (ref_.run_id.empty()) {
    find_or_create();
    save();
  }
  send_params();
  save();
}

void MlflowRun::reopen() {
  if (status_ == "RUNNING") return;
  api_.update_run(ref_.run_id, "RUNNING", std::nullopt);
  status_ = "RUNNING";
  save();
}

/// Written down before and after: a process that dies in between leaves the very metrics behind
/// that the server may have, times included, and they come again as they were. Made anew by a
/// resumed run they would have other times, and be others to the server.
std::int64_t MlflowRun::deliver(MetricBatch batch) {
  in_flight_ = std::move(batch);
  save();
  api_.log_batch(ref_.run_id, {{"metrics", in_flight_->metrics}});
  sent_ = in_flight_->after;
  const auto rows = in_flight_->rows;
  in_flight_.reset();
  save();
  return rows;
}

std::int64_t MlflowRun::send_rows() {
  std::int64_t rows = in_flight_ ? deliver(*in_flight_) : 0;
  while (true) {
    if (pending_.empty()) pending_ = reader_.next();
    if (pending_.empty()) return rows;
    for (const auto& batch : metric_batches(pending_, sent_, start_ms_)) rows += deliver(batch);
    pending_.clear();
  }
}

void MlflowRun::close() {
  facts_ = read_object(run_ / "run.json");
  auto last = Json::array();
  for (const auto* key : {"best_step", "best_val_loss"})
    if (const auto value = facts_.value(key, Json()); value.is_number())
      last.push_back(tag(cat("makemoe.", key), json_text(value)));
  if (!last.empty()) api_.log_batch(ref_.run_id, {{"tags", last}});
  const auto status = status_of(text_at(facts_, "status"));
  const auto end_ms = milliseconds(facts_, "end");
  api_.update_run(ref_.run_id, status,
                  end_ms > 0 ? std::optional<std::int64_t>(end_ms) : std::nullopt);
  status_ = status;
  save();
  send_artifacts();
}

std::vector<std::string> MlflowRun::artifacts() const {
  std::vector<std::string> out;
  if (wanted_.artifacts == MlflowArtifacts::none) return out;
  out = {"config.json", "report.html"};
  if (wanted_.artifacts != MlflowArtifacts::best) return out;
  try {
    const auto newest = newest_sound(run_);
    const auto best = newest ? best_checkpoint(newest->info) : std::nullopt;
    if (!best) return out;
    std::error_code ignored;
    const auto name = best->ref.folder.filename().string();
    for (const auto& entry : fs::directory_iterator(best->ref.folder, ignored))
      out.push_back(cat("checkpoints/", name, "/", entry.path().filename().string()));
  } catch (const CheckpointError& error) {
    log_.warn(cat(error.what(), " (the best checkpoint is not sent to mlflow)"));
  }
  return out;
}

void MlflowRun::send_artifacts() {
  if (!MlflowApi::takes_artifacts(ref_)) {
    if (wanted_.artifacts != MlflowArtifacts::none)
      log_.info(cat("mlflow: artifacts of this experiment go to ", printable(ref_.artifact_uri),
                    ", not through the server; they are not sent"));
    return;
  }
  std::error_code ignored;
  for (const auto& path : artifacts())
    if (fs::is_regular_file(run_ / path, ignored)) api_.put_artifact(ref_, path, run_ / path);
}

std::string MlflowRun::url() const {
  return cat(address_.origin, address_.path, "/#/experiments/", experiment_id_, "/runs/",
             ref_.run_id);
}

std::int64_t count_unsent(const fs::path& run, const SentRows& sent) {
  std::int64_t count = 0;
  RowReader reader(run / "metrics.jsonl");
  for (auto rows = reader.next(); !rows.empty(); rows = reader.next())
    count += std::count_if(rows.begin(), rows.end(),
                           [&](const MetricRow& row) { return !sent.has(row); });
  return count;
}

}  // namespace moe::tracking
