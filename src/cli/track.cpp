#include <CLI/CLI.hpp>

#include "cli/options.h"
#include "cli/output.h"
#include "moe/base/text.h"
#include "moe/cli/app.h"
#include "moe/tracking/mlflow.h"

namespace moe::cli {

namespace {

struct PushArgs {
  std::vector<std::string> runs, overrides;
  bool json = false;
};

Json push(const std::string& run, const PushArgs& args, const Services& services) {
  const auto done =
      push_to_mlflow(run, args.overrides, services.interrupt, services.files, services.log);
  if (!args.json)
    print(cat(run, ": ", grouped(done.rows), done.rows == 1 ? " row" : " rows", " sent, ", done.url,
              "\n"));
  return {{"run", run}, {"run_id", done.run_id}, {"url", done.url}, {"rows", done.rows}};
}

/// One run that cannot be sent does not keep the others; the first one's code is the answer.
int run_push(const PushArgs& args, const Services& services) {
  int code = 0;
  auto sent = Json::array();
  for (const auto& run : args.runs) {
    if (services.interrupt.signal() != 0) throw Interrupted(services.interrupt.signal());
    try {
      sent.push_back(push(run, args, services));
    } catch (const Error& error) {
      services.log.error(error.what());
      if (code == 0) code = error.exit_code();
    }
  }
  if (args.json) print_json({{"runs", sent}});
  return code;
}

}  // namespace

void add_track(CLI::App& app, Run& run) {
  auto* command = app.add_subcommand("track", "Send runs to a tracking server");
  command->require_subcommand(1);
  const auto args = std::make_shared<PushArgs>();
  auto* push = command->add_subcommand(
      "push", "Send runs that have ended, or what is missing of them, to an MLflow server");
  push->add_option("run", args->runs, "folders of runs that have ended")->required();
  add_overrides(*push, args->overrides, "set a tracking key of the run's config; may be repeated");
  push->add_flag("--json", args->json, "print one JSON object instead of text");
  push->callback([args, &run] {
    run = [args](const Services& services) { return run_push(*args, services); };
  });
  command->footer(
      "The server is the run's tracking.mlflow.uri, or MLFLOW_TRACKING_URI if that is empty.\n"
      "The login is MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD, or "
      "MLFLOW_TRACKING_TOKEN.\n"
      "Example:\n  makemoe track push runs/a runs/b --set "
      "tracking.mlflow.uri=http://127.0.0.1:5000");
}

}  // namespace moe::cli
