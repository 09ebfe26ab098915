#include <cmath>
#include <limits>

#include "cli/options.h"
#include "cli/sweep_args.h"
#include "moe/base/text.h"

namespace moe::cli {

namespace {

/// "90", "90s", "15m", "2h", "1d" as seconds.
double seconds_of(const std::string& option, const std::string& text) {
  double number = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  const std::string unit(end, static_cast<std::size_t>(text.data() + text.size() - end));
  const auto scale = unit.empty() || unit == "s" ? 1.0
                     : unit == "m"               ? 60.0
                     : unit == "h"               ? 3600.0
                     : unit == "d"               ? 86400.0
                                                 : 0.0;
  if (error != std::errc() || scale == 0 || !(number > 0) || !std::isfinite(number))
    throw CLI::ValidationError(
        option, cat("\"", printable(text), "\" is no time; give seconds, or e.g. 15m or 2h"));
  const auto& bounds = sweep::kBudgetSeconds;
  if (number * scale < *bounds.min || number * scale > *bounds.max)
    throw CLI::ValidationError(option, cat(number * scale, " s is out of range; give ", *bounds.min,
                                           " to ", *bounds.max, " s"));
  return number * scale;
}

using Action = std::function<int(const SweepArgs&, const Services&)>;

/// A subcommand of sweep that does `action`.
CLI::App* add(CLI::App& sweep, Run& run, const std::shared_ptr<SweepArgs>& args,
              const std::string& name, const std::string& help, const Action& action) {
  auto* command = sweep.add_subcommand(name, help);
  command->callback([args, action, &run] {
    run = [args, action](const Services& services) { return action(*args, services); };
  });
  return command;
}

void add_dir(CLI::App& command, SweepArgs& args) {
  add_name(command, "dir", args.dir, "folder of the sweep, as sweep run made it")->required();
}

constexpr auto kSignals =
    "INT (Ctrl-C), TERM, HUP, USR2 and XCPU: the trials that run save and are given back; exit "
    "code\n"
    "128 + the signal's number. USR1: they save and continue.\n";

void add_run(CLI::App& sweep, Run& run, const std::shared_ptr<SweepArgs>& args) {
  auto* here = add(sweep, run, args, "run", "Run a sweep, or continue it", run_sweep_run);
  add_name(*here, "file", args->file, "sweep file, e.g. configs/sweep/quick.json")->required();
  add_whole(*here, "-j,--jobs", args->jobs,
            "trials at once; they share cores or GPUs; default: budget.workers of the file",
            std::int64_t{1}, std::int64_t{1024});
  add_name(*here, "--out", args->out, "folder of the sweep; default: runs/sweep-NAME");
  add_name(*here, "--data", args->data,
           "UTF-8 text to learn from; default: data.path of the file or its base");
  here->add_flag("--retry-failed", args->retry_failed,
                 "repeat trials that failed, as new trials of the same points; default: they stay "
                 "failed");
  here->add_flag("--fail-fast", args->fail_fast,
                 "the first trial that fails ends the sweep; default: it is noted, and the sweep "
                 "continues");
  here->add_flag("--allow-changes", args->allow_changes,
                 "continue a sweep whose file or text has changed; default: refuse, with the "
                 "differences");
  here->add_flag("--json", args->json,
                 "print one JSON object at the end; default: the best trial, for people");
  here->footer(std::string("Example:\n  makemoe sweep run configs/sweep/quick.json -j 2 --out "
                           "runs/quick\n\n") +
               kSignals + "Keys of a sweep file (docs/sweeps.md):\n" + sweep::describe_settings());
}

void add_worker(CLI::App& sweep, Run& run, const std::shared_ptr<SweepArgs>& args) {
  auto* worker =
      add(sweep, run, args, "worker",
          "Train trials of a sweep, from any machine that shares its folder", run_sweep_worker);
  add_dir(*worker, *args);
  add_whole(*worker, "--count", args->count,
            "end after so many trials; default: when none is left to take", std::int64_t{1},
            std::numeric_limits<std::int64_t>::max());
  const std::string budget = "--time-budget";
  worker
      ->add_option_function<std::string>(
          budget,
          [args, budget](const auto& text) { args->time_budget = seconds_of(budget, text); },
          "save, give back and end after so long, e.g. 3600, 50m, 2h; default: no limit")
      ->type_name("TIME");
  worker->add_flag(
      "--fail-fast", args->fail_fast,
      "end at the first trial that fails; default: it is noted, and the next is taken");
  worker->footer(std::string("Example:\n  makemoe sweep worker runs/quick --time-budget 50m\n\n") +
                 kSignals);
}

void add_looking(CLI::App& sweep, Run& run, const std::shared_ptr<SweepArgs>& args) {
  auto* status = add(sweep, run, args, "status",
                     "Show what runs, what failed, and the ten best trials", run_sweep_status);
  auto* best = add(sweep, run, args, "best", "Show the best trial of a sweep", run_sweep_best);
  auto* exporting = add(sweep, run, args, "export",
                        "Write every trial as CSV, or as JSON with --json", run_sweep_export);
  auto* reporting =
      add(sweep, run, args, "report", "Write an HTML page about a sweep", run_sweep_report);
  best->footer(
      "Example:\n  makemoe train --config $(makemoe sweep best runs/quick --path) --out runs/best");
  exporting->footer("Example:\n  makemoe sweep export runs/quick --out trials.csv");
  for (auto* command : {status, best, exporting, reporting}) add_dir(*command, *args);
  for (auto* command : {status, best})
    command->add_flag("--json", args->json, "print one JSON object; default: text for people");
  exporting->add_flag("--json", args->json, "one JSON object; default: CSV");
  best->add_flag("--path", args->path,
                 "print only the path of its config, for train --config; default: the trial, its "
                 "values and its folder");
  add_name(*exporting, "--out", args->out, "file to write; default: -, standard output");
  add_name(*reporting, "--out", args->out,
           "HTML file, or - for standard output; default: report.html in the sweep");
}

}  // namespace

void add_sweep(CLI::App& app, Run& run) {
  auto* sweep = app.add_subcommand("sweep", "Search for good settings by training many runs");
  sweep->require_subcommand(1);
  const auto args = std::make_shared<SweepArgs>();
  add_run(*sweep, run, args);
  add_worker(*sweep, run, args);
  add_looking(*sweep, run, args);
  sweep->footer(
      "Examples:\n"
      "  makemoe sweep run configs/sweep/quick.json -j 2 --out runs/quick\n"
      "  makemoe sweep worker runs/quick        (also on other machines)\n"
      "  makemoe train --config $(makemoe sweep best runs/quick --path) --out runs/best");
}

}  // namespace moe::cli
