#include <cmath>
#include <limits>

#include "cli/options.h"
#include "cli/output.h"
#include "cli/report.h"
#include "cli/session.h"
#include "moe/base/program.h"
#include "moe/base/system.h"
#include "moe/base/text.h"
#include "moe/cli/app.h"
#include "moe/config/load.h"
#include "moe/model/build.h"
#include "moe/train/trainer.h"

namespace moe::cli {

namespace {

struct TrainArgs {
  std::string config, data, out, device, init_from;
  std::vector<std::string> overrides;
  std::int64_t stop_after = -1;
  bool resume = false, dry_run = false, json = false;
};

/// Dedicated flags come last: they win over --set. Without --config a resumed run continues with
/// its own config.json.
RunConfig resolve_config(const TrainArgs& args, Log& log) {
  if (args.resume && args.out.empty())
    throw ConfigError("--resume: no run is named; give its folder with --out");
  std::optional<fs::path> file;
  if (!args.config.empty()) file = args.config;
  const auto own = fs::path(args.out) / "config.json";
  if (!file && args.resume && is_there(own, ErrorKind::resource)) file = own;
  auto overrides = args.overrides;
  auto config = load_config(file, overrides);
  if (!file) log.info(kAboutDefaults);
  if (!args.data.empty()) config.data.path = absolute_path(args.data).string();
  if (args.resume && !file && config.data.path.empty())
    throw ConfigError(cat("--resume: there is no run in ", printable(args.out),
                          "; check --out, or give --config and --data to begin one there"));
  if (!args.device.empty()) config.device = args.device;
  return config;
}

fs::path default_folder(const TrainArgs& args) {
  const auto name = args.config.empty() ? "run" : fs::path(args.config).stem().string();
  return fs::path("runs") / cat(name, "-", utc_stamp());
}

int dry_run(const TrainRequest& request, const TrainArgs& args, Log& log) {
  const auto& config = request.config;
  const auto [vocabulary, memory] = requirements_of(request, log);
  const Json summary = {{"config", config_to_json(config)},
                        {"vocab_size", vocabulary.symbols},
                        {"parameters", count_parameters(config.model, vocabulary)},
                        {"active_parameters", count_active_parameters(config.model, vocabulary)},
                        {"memory_bytes", memory.total()},
                        {"device_memory_bytes", memory.on_device()}};
  if (args.json) {
    print_json(summary);
    return 0;
  }
  print(cat(
      json_text(summary["config"], 2), "\nparameters ",
      grouped(summary["parameters"].get<long long>()), " (active ",
      grouped(summary["active_parameters"].get<long long>()), "), memory about ",
      human_bytes(static_cast<double>(memory.total())),
      memory.on_device() == 0
          ? ""
          : cat(", and ", human_bytes(static_cast<double>(memory.on_device())), " on the device"),
      "\n"));
  return 0;
}

int run_train(const TrainArgs& args, const Services& services) {
  TrainRequest request;
  request.config = resolve_config(args, services.log);
  request.out_is_default = args.out.empty();
  request.out = request.out_is_default ? default_folder(args) : fs::path(args.out);
  request.resume = args.resume;
  request.init_from = args.init_from;
  if (args.dry_run) return dry_run(request, args, services.log);
  prepare_device(request.config, services.log);
  if (args.stop_after >= 0) request.stop_after = args.stop_after;
  request.on_end = [&](const fs::path& run) { write_report_or_warn(run, services); };
  const auto done = train(request, services.interrupt, services.log, services.files);
  const bool has_best = std::isfinite(done.best_val_loss);
  if (args.json)
    print_json({{"run", done.run.string()},
                {"step", done.step},
                {"ended_by", std::string(name_of(done.ended_by))},
                {"best_step", has_best ? Json(done.best_step) : Json(nullptr)},
                {"val_loss", has_best ? Json(done.best_val_loss) : Json(nullptr)},
                {"seconds", done.seconds}});
  else
    services.log.info(cat(done.run.string(), ": step ", done.step,
                          has_best ? cat(", best val loss ", fixed(done.best_val_loss, 4),
                                         " at step ", done.best_step)
                                   : "",
                          ", ", human_seconds(done.seconds)));
  if (done.signal != 0)
    services.log.info(
        cat("resume it with: ", command_line({"train", "--resume", "--out", done.run.string()})));
  return done.signal == 0 ? 0 : 128 + done.signal;
}

}  // namespace

void add_train(CLI::App& app, Run& run) {
  auto* command = app.add_subcommand("train", "Train a model, or continue a run");
  const auto args = std::make_shared<TrainArgs>();
  add_name(*command, "--config", args->config,
           "JSON config, e.g. configs/makemoe.json; default: the built-in one, with --resume the "
           "run's own");
  add_overrides(*command, args->overrides,
                "set a key of the config, e.g. train.max_iters=2000; may be repeated");
  add_name(*command, "--data", args->data,
           "UTF-8 text to learn from; default: data.path of the config");
  add_name(*command, "--out", args->out,
           "folder of the run, new or empty unless --resume; default: runs/CONFIG-TIME");
  add_name(*command, "--device", args->device,
           "auto, cpu, cuda or cuda:N; default: device of the config");
  command->add_flag("--resume", args->resume,
                    "continue the run in --out, bit for bit; start it if there is none yet");
  add_whole(*command, "--stop-after", args->stop_after,
            "save after this step and end; default: train to train.max_iters [steps]",
            std::int64_t{0}, std::numeric_limits<std::int64_t>::max());
  add_name(
      *command, "--init-from", args->init_from,
      "start from the weights and vocabulary of this checkpoint; default: from random weights");
  command->add_flag(
      "--dry-run", args->dry_run,
      "print the config, the number of parameters and the memory estimate; train nothing");
  command->add_flag("--json", args->json, "print one JSON object at the end");
  command->footer(
      "INT (Ctrl-C), TERM, HUP, USR2 and XCPU save and stop: exit code 128 + the signal's number.\n"
      "A further INT, TERM or USR2 ends at once. USR1 saves and training continues.\n"
      "Examples:\n"
      "  makemoe train --config configs/quickstart.json --data data/tinyshakespeare.txt --out "
      "runs/a\n"
      "  makemoe train --resume --out runs/a\n"
      "  makemoe train --data text.txt --set model.moe.num_experts=16 --set train.max_iters=2000");
  command->callback([args, &run] {
    run = [args](const Services& services) { return run_train(*args, services); };
  });
}

}  // namespace moe::cli
