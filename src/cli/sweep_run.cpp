#include <unistd.h>

#include <cstdlib>
#include <set>

#include "cli/output.h"
#include "cli/report.h"
#include "cli/sweep_args.h"
#include "cli/sweep_text.h"
#include "cli/sweep_view.h"
#include "moe/base/text.h"
#include "moe/sweep/worker.h"

namespace moe::cli {

namespace {

/// What is started for a trial: this binary. The tests of the queue name a quicker one.
std::string trial_program() {
  const auto* other = std::getenv("MAKEMOE_TEST_TRIAL_COMMAND");
  if (other != nullptr) return other;
  std::error_code error;
  const auto own = fs::read_symlink("/proc/self/exe", error);
  if (error)
    throw ResourceError(cat("/proc/self/exe: can not be read: ", error.message(),
                            "; a sweep needs /proc, so mount it"));
  return own.string();
}

sweep::LongWait long_wait(const Services& services) {
  sweep::LongWait wait;
  wait.say = [&services](const std::string& text) { services.log.warn(text); };
  return wait;
}

/// The code that trials ended with, where it is one and the same of docs/formats.md.
ErrorKind kind_of_all(const std::set<std::int64_t>& codes) {
  const auto code = codes.size() == 1 ? *codes.begin() : 0;
  return code >= 2 && code <= 6 ? static_cast<ErrorKind>(code) : ErrorKind::resource;
}

/// A trial that died of a signal, or of a bug, counts as resources.
[[noreturn]] void refuse_stopped(const fs::path& dir, const sweep::Stop& stop) {
  using Why = sweep::Stop::Why;
  const auto& reason = stop.outcome.reason;
  const auto kind = kind_of_all({stop.outcome.exit_code});
  if (stop.why == Why::fail_fast) throw_error(kind, cat("--fail-fast: a trial failed: ", reason));
  if (stop.why == Why::outside)
    throw_error(kind, cat(dir.string(), ": stopped, what ran is given back: ", reason,
                          "; then the same command continues"));
  throw_error(
      kind,
      cat(dir.string(),
          ": stopped, trials failed alike one after another "
          "(budget.max_consecutive_failures): ",
          reason, "; mend the cause, then makemoe sweep run --retry-failed repeats what failed"));
}

int finish(const fs::path& dir, const sweep::WorkerEnd& end, const SweepArgs& args, Log& log) {
  if (end.stop) refuse_stopped(dir, *end.stop);
  const auto sweep = sweep::read_sweep(dir);
  if (end.signal != 0) {
    log.info(cat(dir.string(), ": stopped; the same command continues"));
    return 128 + end.signal;
  }
  if (end.out_of_time) log.info(cat(dir.string(), ": out of time; the same command continues"));
  const auto board = sweep::leaderboard(sweep.definition, sweep.study);
  if (board.empty() && !end.out_of_time) refuse_without_best(sweep);
  if (args.json)
    print_json(sweep::sweep_json(sweep));
  else if (!board.empty())
    print(best_text(sweep, terminal_width(STDOUT_FILENO)));
  return 0;
}

void warn_of_passed_over(const sweep::Queue& queue, Log& log) {
  const auto text = sweep::passed_over_text(queue.dir(), queue.passed_over());
  if (!text.empty()) log.warn(text);
}

void repeat_failed(sweep::Queue& queue, Log& log) {
  const auto repeats = queue.retry_failed();
  log.info(cat(queue.dir().string(), ": failed trials to repeat: ", repeats.count));
  if (repeats.refused.empty()) return;
  const auto count = repeats.refused.size();
  log.warn(
      cat(queue.dir().string(), ": ", count, count == 1 ? " failed trial is" : " failed trials are",
          " not repeated, since the space does not have the same point: ", repeats.refused.front(),
          count == 1 ? "" : "; ..."));
}

}  // namespace

void refuse_without_best(const sweep::Sweep& sweep) {
  std::set<std::int64_t> codes;
  const sweep::Trial* first = nullptr;
  for (const auto& trial : sweep.study.trials()) {
    if (!trial.user("reason").is_string()) continue;
    if (first == nullptr) first = &trial;
    codes.insert(sweep::whole_in(trial.user_attributes, "exit_code").value_or(0));
  }
  if (first == nullptr)
    throw ResourceError(cat(sweep.dir.string(),
                            ": no trial has completed yet; wait for one, or see "
                            "makemoe sweep status"));
  throw_error(kind_of_all(codes),
              cat(sweep.dir.string(), ": no trial has completed; trial ", first->number,
                  " failed: ", first->user("reason").get<std::string>()));
}

int run_sweep_run(const SweepArgs& args, const Services& services) {
  const auto definition = sweep::load_definition(args.file, args.data);
  const auto dir =
      args.out.empty() ? fs::path("runs") / cat("sweep-", definition.name) : fs::path(args.out);
  const auto wait = long_wait(services);
  sweep::open_sweep(dir, definition, args.allow_changes, services.files, wait);
  sweep::Queue queue(dir, definition, services.files, {}, wait);
  warn_of_passed_over(queue, services.log);
  if (args.retry_failed) repeat_failed(queue, services.log);
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

int run_sweep_worker(const SweepArgs& args, const Services& services) {
  sweep::Queue queue(args.dir, sweep::read_definition(args.dir), services.files, {},
                     long_wait(services));
  warn_of_passed_over(queue, services.log);
  sweep::WorkerOptions options;
  if (args.count > 0) options.count = args.count;
  options.seconds = args.time_budget;
  options.fail_fast = args.fail_fast;
  options.program = trial_program();
  SweepView view(queue, services.log);
  const auto end = sweep::work(queue, services.files, options, services.interrupt, view);
  if (end.stop) refuse_stopped(args.dir, *end.stop);
  if (end.taken == 0 && end.signal == 0)
    services.log.info(cat(args.dir, ": no trial is left to take; makemoe sweep status shows them"));
  return end.signal == 0 ? 0 : 128 + end.signal;
}

}  // namespace moe::cli
