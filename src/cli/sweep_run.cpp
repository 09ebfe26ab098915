#include <unistd.h>

#include <cstdlib>
#include <set>

#include "cli/output.h"
#include "cli/report.h"
#include "cli/sweep_args.h"
#include "cli/sweep_text.h"
#include "cli/sweep_view.h"
#include "moe/base/interrupt.h"
#include "moe/base/program.h"
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
    throw ResourceError(cat("/proc/self/exe: cannot be read: ", error.message(),
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

/// The command that repeats what failed; a worker does not know the sweep's file.
std::string retry_command(const fs::path& dir, const SweepArgs& args) {
  std::vector<std::string> words{"sweep", "run", args.file.empty() ? "FILE" : args.file, "--out",
                                 dir.string()};
  if (!args.data.empty()) words.insert(words.end(), {"--data", args.data});
  words.emplace_back("--retry-failed");
  return command_line(words);
}

/// A trial that died of a signal, or of a bug, counts as resources.
[[noreturn]] void refuse_stopped(const fs::path& dir, const sweep::Stop& stop,
                                 const SweepArgs& args) {
  using Why = sweep::Stop::Why;
  const auto& reason = stop.outcome.reason;
  const auto kind = kind_of_all({stop.outcome.exit_code});
  if (stop.why == Why::fail_fast) throw_error(kind, cat("--fail-fast: a trial failed: ", reason));
  if (stop.why == Why::outside)
    throw_error(kind, cat(dir.string(), ": stopped, what ran is given back: ", reason,
                          "; then the same command continues"));
  throw_error(kind, cat(dir.string(),
                        ": stopped, trials failed alike one after another "
                        "(budget.max_consecutive_failures): ",
                        reason, "; mend the cause, then repeat what failed with: ",
                        retry_command(dir, args)));
}

int finish(const fs::path& dir, const sweep::WorkerEnd& end, const SweepArgs& args, Log& log) {
  if (end.stop) refuse_stopped(dir, *end.stop, args);
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

/// Why a worker ended, and what may follow.
std::string end_of_worker(const sweep::Queue& queue, const sweep::WorkerEnd& end,
                          const SweepArgs& args) {
  constexpr const char* kContinues = "; the same command continues";
  if (end.signal != 0) return cat("stopped by ", signal_text(end.signal), kContinues);
  if (end.out_of_time) return cat("the time is over (--time-budget)", kContinues);
  const auto counts = sweep::counts_of(queue.definition(), queue.study(), queue.dir());
  if (args.count > 0 && end.taken >= args.count && counts.ended() < counts.total)
    return cat("took ", end.taken, end.taken == 1 ? " trial" : " trials", " (--count)", kContinues);
  return cat("no trial is left to take; ", command_line({"sweep", "status", args.dir}),
             " shows them");
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
                            ": no trial has completed yet; wait for one, or see ",
                            command_line({"sweep", "status", sweep.dir.string()})));
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
  if (end.stop) refuse_stopped(args.dir, *end.stop, args);
  services.log.info(cat(args.dir, ": ", end_of_worker(queue, end, args)));
  return end.signal == 0 ? 0 : 128 + end.signal;
}

}  // namespace moe::cli
