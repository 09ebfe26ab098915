#include <chrono>
#include <thread>

#include "moe/base/text.h"
#include "moe/config/load.h"
#include "moe/tracking/mlflow.h"
#include "moe/tracking/run_folder.h"
#include "tracking/mlflow_run.h"
#include "tracking/mlflow_target.h"

namespace moe {

namespace {

constexpr int kAttempts = 3;
constexpr std::chrono::seconds kBetweenAttempts{1};

RunConfig config_of(const fs::path& run, std::span<const std::string> overrides) {
  for (const auto& text : overrides)
    if (!text.starts_with("tracking."))
      throw ConfigError(cat("--set ", printable(text),
                            ": the run is over; only keys under tracking. can change"));
  const auto file = run / "config.json";
  if (!is_there(file, ErrorKind::resource))
    throw ResourceError(cat(run.string(), ": is not a run folder; name one that train made"));
  auto config = config_from_json(read_json(file.string(), ErrorKind::config), file.string());
  apply_overrides(config, overrides);
  if (const auto problems = config_problems(config); !problems.empty())
    throw ConfigError(join(problems, "\n"));
  return config;
}

std::unique_ptr<tracking::Http> connect_to(const tracking::MlflowTarget& target) {
  try {
    return tracking::connect(target.address, target.login);
  } catch (const tracking::HttpFailure& failure) {
    throw ConfigError(cat("tracking.mlflow.uri: ", target.address.origin, ": ", failure.what(),
                          "; give another address"));
  }
}

}  // namespace

MlflowPush push_to_mlflow(const fs::path& run, std::span<const std::string> overrides,
                          const InterruptFlag& interrupt, FileLayer& files, Log& log) {
  const auto config = config_of(run, overrides);
  const auto target = tracking::mlflow_target(config.tracking.mlflow);
  if (!target)
    throw ConfigError(cat(run.string(),
                          ": its tracking.mlflow.uri names no MLflow server; give --set "
                          "tracking.mlflow.uri=http://HOST:PORT, or set MLFLOW_TRACKING_URI"));
  const auto folder = RunFolder::open(run, files);
  const auto http = connect_to(*target);
  tracking::MlflowRun server(run, config, *http, target->address, files, log);
  MlflowPush done;
  for (int attempt = 1;; ++attempt) {
    try {
      server.announce();
      done.rows += server.send_rows();
      server.close();
      done.run_id = server.run_id();
      done.url = server.url();
      return done;
    } catch (const ResourceError& error) {
      if (attempt == kAttempts) throw;
      if (interrupt.signal() != 0) throw Interrupted(interrupt.signal());
      log.warn(cat(error.what(), " (tried again)"));
      std::this_thread::sleep_for(kBetweenAttempts);
    }
  }
}

}  // namespace moe
