#include <cmath>
#include <cstdlib>
#include <limits>

#include "cli/options.h"
#include "cli/output.h"
#include "cli/report.h"
#include "cli/sweep_view.h"
#include "moe/base/system.h"
#include "moe/base/text.h"
#include "moe/cli/app.h"
#include "moe/sweep/summary.h"
#include "moe/sweep/worker.h"

namespace moe::cli {

namespace {

struct SweepArgs {
  std::string file, dir, out, data;
  std::int64_t jobs = 0, count = 0;   // 0: not given
  std::optional<double> time_budget;  // [s]
  bool fail_fast = false, allow_changes = false, json = false, path = false;
};

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
  return number * scale;
}

/// What is started for a trial: this binary. The tests of the queue name a quicker one.
std::string trial_program() {
  const auto* other = std::getenv("MAKEMOE_TEST_TRIAL_COMMAND");
  return other != nullptr ? other : fs::read_symlink("/proc/self/exe").string();
}

std::string best_line(const sweep::Sweep& sweep) {
  const auto board = sweep::leaderboard(sweep.definition, sweep.study);
  const auto& first = board.front();
  const auto trial = sweep::trial_json(sweep, *first.best);
  std::vector<std::string> parts;
  for (const auto& item : trial["values"].items())
    parts.push_back(cat(item.key(), "=", shown(item.value())));
  const auto seeds = first.complete.size();
  return cat("best: trial ", first.best->number, ", ",
             printable(sweep.definition.settings.objective.metric), " ", fixed(first.value, 4),
             seeds > 1 ? cat(" (mean of ", seeds, " seeds)") : "", ", ", join(parts, " "), "\n",
             trial["run"].get<std::string>(), "\n");
}

[[noreturn]] void refuse_without_best(const sweep::Sweep& sweep) {
  for (const auto& trial : sweep.study.trials())
    if (const auto reason = trial.user("reason"); reason.is_string())
      throw ResourceError(cat(sweep.dir.string(), ": no trial has completed; trial ", trial.number,
                              " failed: ", reason.get<std::string>()));
  throw ResourceError(cat(sweep.dir.string(),
                          ": no trial has completed yet; wait for one, or see "
                          "makemoe sweep status"));
}

/// Ends like the trial that ended the sweep; a trial that died of a signal counts as resources.
[[noreturn]] void refuse_failed(const sweep::Outcome& failure) {
  const auto code = failure.exit_code;
  const bool known = code >= 2 && code <= 6;
  throw_error(known ? static_cast<ErrorKind>(code) : ErrorKind::resource,
              cat("--fail-fast: a trial failed: ", failure.reason));
}

int finish(const fs::path& dir, const sweep::WorkerEnd& end, const SweepArgs& args, Log& log) {
  if (end.failure) refuse_failed(*end.failure);
  const auto sweep = sweep::read_sweep(dir);
  if (end.signal != 0) {
    log.info(cat(dir.string(), ": stopped; the same command goes on"));
    return 128 + end.signal;
  }
  if (end.out_of_time) log.info(cat(dir.string(), ": out of time; the same command goes on"));
  const auto board = sweep::leaderboard(sweep.definition, sweep.study);
  if (board.empty() && !end.out_of_time) refuse_without_best(sweep);
  if (args.json)
    print_json(sweep::sweep_json(sweep));
  else if (!board.empty())
    print(best_line(sweep));
  return 0;
}

/// Trials that share the cores are told their number of threads, and do not see the variable's.
void warn_of_threads(const sweep::Queue& queue, Log& log) {
  const auto notice = default_threads().notice;
  if (queue.definition().base.threads == 0 && !notice.empty()) log.warn(notice);
}

int run_run(const SweepArgs& args, const Services& services) {
  const auto definition = sweep::load_definition(args.file, args.data);
  const auto dir =
      args.out.empty() ? fs::path("runs") / cat("sweep-", definition.name) : fs::path(args.out);
  sweep::open_sweep(dir, definition, args.allow_changes, services.files);
  sweep::Queue queue(dir, definition, services.files);
  warn_of_threads(queue, services.log);
  sweep::WorkerOptions options;
  options.slots = args.jobs > 0 ? args.jobs : definition.settings.budget.workers;
  options.seconds = definition.settings.budget.seconds;
  options.stays = true;
  options.fail_fast = args.fail_fast;
  options.program = trial_program();
  services.log.info(
      cat(dir.string(), ": ", queue.definition().trials(), " trials, ", options.slots, " at once"));
  sweep::WorkerEnd end;
  {
    SweepView view(queue, services.log);
    end = sweep::work(queue, services.files, options, services.interrupt, view);
  }
  write_report_or_warn(dir, services);
  return finish(dir, end, args, services.log);
}

int run_worker(const SweepArgs& args, const Services& services) {
  sweep::Queue queue(args.dir, sweep::read_definition(args.dir), services.files);
  warn_of_threads(queue, services.log);
  sweep::WorkerOptions options;
  if (args.count > 0) options.count = args.count;
  options.seconds = args.time_budget;
  options.fail_fast = args.fail_fast;
  options.program = trial_program();
  SweepView view(queue, services.log);
  const auto end = sweep::work(queue, services.files, options, services.interrupt, view);
  if (end.failure) refuse_failed(*end.failure);
  return end.signal == 0 ? 0 : 128 + end.signal;
}

int run_status(const SweepArgs& args) {
  const auto sweep = sweep::read_sweep(args.dir);
  if (args.json) {
    print_json(sweep::sweep_json(sweep));
    return 0;
  }
  const auto counts = sweep::counts_of(sweep.definition, sweep.study, sweep.dir);
  std::string out =
      cat(sweep.definition.name, ": ", counts.ended(), " of ", counts.total, " trials ended (",
          counts.complete, " complete, ", counts.pruned, " pruned, ", counts.failed, " failed), ",
          counts.running, " running, ", counts.waiting, " waiting\n");
  for (const auto& trial : sweep.study.trials())
    if (const auto reason = trial.user("reason"); reason.is_string())
      out += cat("trial ", trial.number,
                 " failed: ", printable(reason.get<std::string>(), 300, Quotes::kept), "\n");
  if (!sweep::leaderboard(sweep.definition, sweep.study).empty()) out += best_line(sweep);
  print(out);
  return 0;
}

int run_best(const SweepArgs& args) {
  const auto sweep = sweep::read_sweep(args.dir);
  const auto board = sweep::leaderboard(sweep.definition, sweep.study);
  if (board.empty()) refuse_without_best(sweep);
  if (args.path)
    print(cat((sweep::trial_folder(sweep.dir, board.front().best->number) / "config.json").string(),
              "\n"));
  else if (args.json)
    print_json(sweep::sweep_json(sweep)["best"]);
  else
    print(best_line(sweep));
  return 0;
}

int run_export(const SweepArgs& args, FileLayer& files) {
  const auto sweep = sweep::read_sweep(args.dir);
  const auto text =
      args.json ? json_text(sweep::sweep_json(sweep), 2) + "\n" : sweep::sweep_csv(sweep);
  if (args.out.empty())
    print(text);
  else
    files.replace(args.out, text);
  return 0;
}

int run_sweep_report(const SweepArgs& args, const Services& services) {
  sweep::read_definition(args.dir);  // what is no sweep is refused, a run too
  return run_report({args.dir}, args.out, services);
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
  add_name(command, "dir", args.dir, "folder of the sweep")->required();
}

constexpr auto kSignals =
    "INT (Ctrl-C), TERM, HUP, USR2 and XCPU: the trials that run save and are given back; exit "
    "code\n"
    "128 + the signal's number. USR1: they save and continue.\n";

void add_running(CLI::App& sweep, Run& run, const std::shared_ptr<SweepArgs>& args) {
  auto* here = add(sweep, run, args, "run", "Run a sweep, or go on with it", run_run);
  add_name(*here, "file", args->file, "sweep file, e.g. configs/sweep/quick.json")->required();
  add_whole(*here, "-j,--jobs", args->jobs, "trials at once; they share cores or GPUs",
            std::int64_t{1}, std::int64_t{1024});
  add_name(*here, "--out", args->out, "folder of the sweep; default runs/sweep-NAME");
  add_name(*here, "--data", args->data, "UTF-8 text to learn from, over the file's");
  here->add_flag("--fail-fast", args->fail_fast, "the first trial that fails ends the sweep");
  here->add_flag("--allow-changes", args->allow_changes, "go on although the file has changed");
  here->add_flag("--json", args->json, "print one JSON object at the end");
  here->footer(std::string(kSignals) + "Keys of a sweep file (docs/sweeps.md):\n" +
               sweep::describe_settings());
  auto* worker = add(sweep, run, args, "worker",
                     "Work on a sweep from anywhere that shares its folder", run_worker);
  add_dir(*worker, *args);
  add_whole(*worker, "--count", args->count, "end after so many trials", std::int64_t{1},
            std::numeric_limits<std::int64_t>::max());
  const std::string budget = "--time-budget";
  worker
      ->add_option_function<std::string>(
          budget,
          [args, budget](const auto& text) { args->time_budget = seconds_of(budget, text); },
          "then save, give back and end, e.g. 3600, 50m, 2h")
      ->type_name("TIME");
  worker->add_flag("--fail-fast", args->fail_fast, "end at the first trial that fails");
  worker->footer(kSignals);
}

void add_looking(CLI::App& sweep, Run& run, const std::shared_ptr<SweepArgs>& args) {
  auto* status = add(sweep, run, args, "status", "How far it is, and what failed",
                     [](const auto& a, const auto&) { return run_status(a); });
  auto* best = add(sweep, run, args, "best", "The best trial",
                   [](const auto& a, const auto&) { return run_best(a); });
  auto* exporting = add(sweep, run, args, "export", "Every trial as CSV, or as JSON with --json",
                        [](const auto& a, const Services& s) { return run_export(a, s.files); });
  auto* reporting = add(sweep, run, args, "report", "Write a page that shows it",
                        [](const auto& a, const Services& s) { return run_sweep_report(a, s); });
  for (auto* command : {status, best, exporting, reporting}) add_dir(*command, *args);
  for (auto* command : {status, best, exporting})
    command->add_flag("--json", args->json, "print one JSON object");
  best->add_flag("--path", args->path, "only the path of its config, for train --config");
  add_name(*exporting, "--out", args->out, "file to write; default: standard output");
  add_name(*reporting, "--out", args->out, "HTML file; default: report.html in the sweep");
}

}  // namespace

void add_sweep(CLI::App& app, Run& run) {
  auto* sweep = app.add_subcommand("sweep", "Search for good settings with many runs");
  sweep->require_subcommand(1);
  const auto args = std::make_shared<SweepArgs>();
  add_running(*sweep, run, args);
  add_looking(*sweep, run, args);
  sweep->footer(
      "Examples:\n"
      "  makemoe sweep run configs/sweep/quick.json -j 2 --out runs/quick\n"
      "  makemoe sweep worker runs/quick        (on another machine, too)\n"
      "  makemoe train --config $(makemoe sweep best runs/quick --path) --out runs/best");
}

}  // namespace moe::cli
