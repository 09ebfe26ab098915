#include <unistd.h>

#include "cli/output.h"
#include "cli/report.h"
#include "cli/sweep_args.h"
#include "cli/sweep_text.h"
#include "moe/base/program.h"
#include "moe/base/text.h"

namespace moe::cli {

namespace {

/// As it stands; what of the journal could not be read is said once.
sweep::Sweep looked_at(const SweepArgs& args, Log& log) {
  auto sweep = sweep::read_sweep(args.dir);
  if (const auto text = sweep::passed_over_text(sweep.dir, sweep.passed_over); !text.empty())
    log.warn(text);
  return sweep;
}

/// "s7: 5 of 12 trials ended (4 complete, 1 failed), 2 running": what there is none of is left out.
std::string counts_text(const sweep::Sweep& sweep) {
  const auto counts = sweep::counts_of(sweep.definition, sweep.study, sweep.dir);
  auto out = cat(sweep.definition.name, ": ", counts.ended(), " of ", counts.total,
                 " trials ended (", counts.complete, " complete");
  const auto add = [&](std::int64_t count, const char* what) {
    if (count > 0) out += cat(", ", count, what);
  };
  add(counts.pruned, " pruned");
  add(counts.failed, " failed");
  out += ")";
  add(counts.running, " running");
  add(counts.waiting, " waiting");
  return out + "\n";
}

std::string status_text(const sweep::Sweep& sweep, std::size_t width) {
  auto out = counts_text(sweep) + failures_text(sweep);
  for (const auto& table : {running_text(sweep, width), leaders_text(sweep, width)})
    if (!table.empty()) out += "\n" + table;
  return out;
}

}  // namespace

int run_sweep_status(const SweepArgs& args, const Services& services) {
  const auto sweep = looked_at(args, services.log);
  if (args.json)
    print_json(sweep::sweep_json(sweep));
  else
    print(status_text(sweep, terminal_width(STDOUT_FILENO)));
  return 0;
}

int run_sweep_best(const SweepArgs& args, const Services& services) {
  const auto sweep = looked_at(args, services.log);
  const auto board = sweep::leaderboard(sweep.definition, sweep.study);
  if (board.empty()) refuse_without_best(sweep);
  if (args.json) {
    print_json(sweep::sweep_json(sweep)["best"]);
    return 0;
  }
  if (!args.path) {
    print(best_text(sweep, terminal_width(STDOUT_FILENO)));
    return 0;
  }
  const auto config = sweep::trial_folder(sweep.dir, board.front().best->number) / "config.json";
  if (std::error_code ignored; !fs::exists(config, ignored))
    throw ResourceError(
        cat(config.string(), ": is gone; put the trial's folder back, or set the values that ",
            command_line({"sweep", "best", sweep.dir.string()}), " prints over the base yourself"));
  print(cat(config.string(), "\n"));
  return 0;
}

int run_sweep_export(const SweepArgs& args, const Services& services) {
  const auto sweep = looked_at(args, services.log);
  const auto text =
      args.json ? json_text(sweep::sweep_json(sweep), 2) + "\n" : sweep::sweep_csv(sweep);
  const std::string_view whole = text;
  const auto out = args.out.empty() ? "-" : args.out;
  write_result(out, Pieces(&whole, 1), services.files);
  if (!is_standard_output(out)) services.log.info(cat("wrote ", out));
  return 0;
}

int run_sweep_report(const SweepArgs& args, const Services& services) {
  looked_at(args, services.log);  // what is no sweep is refused, a run too
  return run_report({args.dir}, args.out, services);
}

}  // namespace moe::cli
