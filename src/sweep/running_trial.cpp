#include "sweep/running_trial.h"

#include <unistd.h>

#include <algorithm>
#include <csignal>
#include <cstdlib>
#include <cstring>
#include <fstream>

#include "moe/base/system.h"
#include "moe/base/text.h"
#include "moe/config/load.h"
#include "moe/sweep/summary.h"

namespace moe::sweep {

namespace {

constexpr const char* kMessages = "stderr.txt";

/// CUDA devices that this process may use, as CUDA_VISIBLE_DEVICES names them.
std::vector<std::string> gpus() {
  std::vector<std::string> out;
  if (const char* visible = std::getenv("CUDA_VISIBLE_DEVICES")) {
    std::string_view rest = visible;
    while (!rest.empty()) {
      const auto end = std::min(rest.find(','), rest.size());
      out.emplace_back(rest.substr(0, end));
      rest.remove_prefix(std::min(end + 1, rest.size()));
    }
    return out;
  }
  for (int i = 0; ::access(cat("/dev/nvidia", i).c_str(), F_OK) == 0; ++i) out.push_back(cat(i));
  return out;
}

/// The share of the machine that one of `slots` trials gets.
void share(TrialCommand& command, std::int64_t slot, std::int64_t slots) {
  if (slots < 2) return;
  // Spinning threads of one trial would take the cores of the others.
  if (std::getenv("OMP_WAIT_POLICY") == nullptr)
    command.environment.emplace_back("OMP_WAIT_POLICY", "passive");
  if (const auto devices = gpus(); !devices.empty())
    command.environment.emplace_back("CUDA_VISIBLE_DEVICES",
                                     devices[static_cast<std::size_t>(slot) % devices.size()]);
}

RunConfig config_of(const Queue& queue, const Claim& claim, std::int64_t slots) {
  auto config = queue.definition().base;
  config.seed += claim.seed_index;
  if (config.threads == 0 && slots > 1)
    config.threads = std::max<std::int64_t>(1, default_threads().count / slots);
  if (!claim.misfit.empty()) throw ConfigError(claim.misfit);
  return config_at(config, queue.definition().space, claim.point);
}

/// The last "error: ..." of the messages after the first `offset` bytes; "" where there is none.
std::string last_error(const fs::path& file, std::uintmax_t offset) {
  constexpr std::string_view kMark = "error: ";
  std::ifstream in(file);
  in.seekg(static_cast<std::streamoff>(offset));
  std::string found;
  for (std::string line; std::getline(in, line);)
    if (const auto at = line.find(kMark); at != std::string::npos)
      found = line.substr(at + kMark.size());
  return printable(found, 500, Quotes::kept);
}

/// The data.sha256 that the run in `folder` noted; "" where it has not.
std::string trained_on(const fs::path& folder) {
  try {
    const auto run = read_json((folder / "run.json").string(), ErrorKind::data);
    return run.at(Json::json_pointer("/data/sha256")).get<std::string>();
  } catch (const std::exception&) {  // no such file, or of another shape: nothing is known
    return "";
  }
}

std::string death_text(int signal) {
  const auto* hint = signal == SIGKILL ? " (the system's, when memory runs out)" : "";
  return cat("died of signal ", signal, ", ", ::strsignal(signal), hint);
}

}  // namespace

RunningTrial::RunningTrial(Queue& queue, FileLayer& files, TextWatch& texts, Claim claim,
                           const WorkerOptions& options, std::int64_t slot)
    : queue_(queue),
      files_(files),
      texts_(texts),
      claim_(std::move(claim)),
      config_(config_of(queue, claim_, options.slots)),
      folder_(trial_folder(queue.dir(), claim_.number)),
      tail_(folder_ / "metrics.jsonl", queue.definition().settings.objective.metric) {
  texts_.check(config_);
  files_.make_folder(folder_);
  if (!is_there(folder_ / "config.json", ErrorKind::resource))
    files_.replace(folder_ / "config.json", json_text(config_to_json(config_), 2) + "\n");
  command_ = {
      {options.program, "train", "--resume", "--out", folder_.string()}, {}, folder_ / kMessages};
  share(command_, slot, options.slots);
  start();
}

void RunningTrial::start() {
  std::error_code absent;
  const auto size = fs::file_size(command_.messages, absent);
  said_before_ = absent ? 0 : size;
  exit_.reset();
  process_ = std::make_unique<TrialProcess>(command_);
}

void RunningTrial::give_back() {
  giving_back_ = true;
  if (!exit_) process_->stop();
}

void RunningTrial::follow() {
  if (lost_) return;
  try {
    const auto values = tail_.read();
    if (!values.empty() && queue_.report(claim_, values) && !giving_back_) pruned_ = true;
    lost_ = !queue_.beat(claim_);
  } catch (const Interrupted&) {
    // It came while the journal was awaited. What the trial reports is read again with the next
    // attempt.
  }
}

std::optional<Outcome> RunningTrial::poll(bool journal) {
  if (!exit_) exit_ = process_->poll();  // before the file is read: then nothing is missed
  if (journal) follow();
  if ((pruned_ || lost_) && !exit_) process_->stop();
  if (!exit_) return std::nullopt;
  return outcome_of(*exit_);
}

Outcome RunningTrial::failed(Cause cause, const std::string& reason, std::int64_t exit_code) {
  cause_ = cause;
  return {TrialState::failed, std::nullopt, reason, exit_code};
}

std::optional<Outcome> RunningTrial::outcome_of(const Exit& exit) {
  if (lost_) return failed(Cause::trial, "", exit.code);  // another's: nothing of it is recorded
  if (exit.signal == 0 && exit.code == 0) {
    giving_back_ = false;  // it was done already
    return completed();
  }
  // Before it has set up its handlers, a signal ends it like any program; and we kill it ourselves
  // when it does not stop.
  const auto asks_to_stop = [](int signal) {
    return signal == SIGTERM || signal == SIGINT || signal == SIGHUP || signal == SIGUSR2;
  };
  const bool killed = exit.signal == SIGKILL && (pruned_ || giving_back_ || lost_);
  // At a CPU limit it saves and goes on with another one; one that dies of it would die again.
  const bool stopped = killed || asks_to_stop(exit.signal) || asks_to_stop(exit.code - 128) ||
                       exit.code == 128 + SIGXCPU;
  if (stopped && pruned_) {
    const auto* trial = queue_.study().find(claim_.trial);
    Outcome outcome{TrialState::pruned, std::nullopt, "", 0};
    if (trial != nullptr && !trial->reported.empty())
      outcome.value = trial->reported.rbegin()->second;
    return outcome;
  }
  // Stopped from outside, by a scheduler or an administrator: somebody is to continue it.
  if (stopped) giving_back_ = true;
  if (giving_back_) return Outcome{};
  const auto said = last_error(command_.messages, said_before_);
  if (exit.code == static_cast<int>(ErrorKind::data)) return data_problem(said);
  if (exit.signal != 0)
    return failed(cause_of(exit, said), death_text(exit.signal), 128 + exit.signal);
  return failed(cause_of(exit, said),
                said.empty() ? cat("exit code ", exit.code, "; see ", kMessages) : said, exit.code);
}

/// Exit code 3 is the trial's own doing only when it comes twice while its text is intact: a file
/// may be away for a moment, and back when we look.
std::optional<Outcome> RunningTrial::data_problem(const std::string& said) {
  constexpr auto kData = static_cast<int>(ErrorKind::data);
  try {
    texts_.check(config_);
    if (repeated_)
      return failed(Cause::trial, said.empty() ? cat("exit code 3; see ", kMessages) : said, kData);
    repeated_ = true;
    start();
    return std::nullopt;
  } catch (const Error& problem) {
    return failed(Cause::outside, problem.what(), problem.exit_code());
  }
}

Outcome RunningTrial::completed() {
  const auto wanted = texts_.sum_of(config_);
  const auto found = trained_on(folder_);
  if (wanted && !found.empty() && found != *wanted) return of_another_text();
  const auto& objective = queue_.definition().settings.objective;
  const auto values = MetricTail(folder_ / "metrics.jsonl", objective.metric).read();
  if (values.empty())
    return failed(Cause::trial,
                  cat("objective.metric: \"", printable(objective.metric),
                      "\" is not in metrics.jsonl; the numbers there are ",
                      join(metric_names(folder_ / "metrics.jsonl"), ", ")),
                  static_cast<int>(ErrorKind::config));
  double value = values.back().second;
  if (objective.reduce == Reduce::best)
    for (const auto& [step, other] : values)
      if (queue_.definition().better(other, value)) value = other;
  return {TrialState::complete, value, "", 0};
}

/// The text was changed between our look at it and the trial's. Its run must not be continued: it
/// is kept next to the folder.
Outcome RunningTrial::of_another_text() {
  auto aside = folder_;
  aside += ".another-text";
  try {
    files_.remove(aside);
    files_.rename(folder_, aside);
  } catch (const Error& problem) {  // it stays, and is found again by its sum
    return failed(Cause::outside, problem.what(), problem.exit_code());
  }
  return failed(Cause::outside,
                cat(config_.data.path.shown(),
                    ": was not the text that the sweep began with when trial ", claim_.number,
                    " read it (its sha256 differs); put that text back, or begin a "
                    "sweep of the new one with --out"),
                static_cast<int>(ErrorKind::data));
}

}  // namespace moe::sweep
