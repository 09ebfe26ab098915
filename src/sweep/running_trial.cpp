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
  if (!queue.definition().space.is_complete(claim.point))
    throw ConfigError("a value is missing or outside the space; see the trial's parameters");
  return config_at(config, queue.definition().space, claim.point);
}

/// The last "error: ..." of the run's messages; "" where there is none.
std::string last_error(const fs::path& file) {
  constexpr std::string_view kMark = "error: ";
  std::ifstream in(file);
  std::string found;
  for (std::string line; std::getline(in, line);)
    if (const auto at = line.find(kMark); at != std::string::npos)
      found = line.substr(at + kMark.size());
  return printable(found, 500, Quotes::kept);
}

std::string signal_text(int signal) {
  const auto* hint = signal == SIGKILL ? " (the system's, when memory runs out)" : "";
  return cat("died of signal ", signal, ", ", ::strsignal(signal), hint);
}

}  // namespace

RunningTrial::RunningTrial(Queue& queue, FileLayer& files, Claim claim,
                           const WorkerOptions& options, std::int64_t slot)
    : queue_(queue),
      claim_(std::move(claim)),
      folder_(trial_folder(queue.dir(), claim_.number)),
      tail_(folder_ / "metrics.jsonl", queue.definition().settings.objective.metric) {
  const auto config = config_of(queue, claim_, options.slots);
  files.make_folder(folder_);
  if (!fs::exists(folder_ / "config.json"))
    files.replace(folder_ / "config.json", json_text(config_to_json(config), 2) + "\n");
  TrialCommand command{
      {options.program, "train", "--resume", "--out", folder_.string()}, {}, folder_ / kMessages};
  share(command, slot, options.slots);
  process_ = std::make_unique<TrialProcess>(command);
}

void RunningTrial::give_back() {
  giving_back_ = true;
  process_->stop();
}

void RunningTrial::follow() {
  const auto values = tail_.read();
  if (!values.empty() && queue_.report(claim_, values) && !giving_back_) pruned_ = true;
  lost_ = !queue_.beat(claim_);
}

std::optional<Outcome> RunningTrial::poll() {
  const auto exit = process_->poll();  // before the file is read: then nothing is missed
  try {
    if (!lost_) follow();
  } catch (const Interrupted&) {
    // It came while the journal was awaited. What the trial reports is read again with the next
    // attempt.
  }
  if (pruned_ || lost_) process_->stop();
  if (!exit) return std::nullopt;
  return outcome_of(*exit);
}

Outcome RunningTrial::outcome_of(const Exit& exit) {
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
  // Stopped from outside, by a scheduler or an administrator: somebody is to go on with it.
  if (stopped) giving_back_ = true;
  if (giving_back_) return {};
  const auto said = last_error(folder_ / kMessages);
  if (exit.signal != 0)
    return {TrialState::failed, std::nullopt, signal_text(exit.signal), 128 + exit.signal};
  return {TrialState::failed, std::nullopt,
          said.empty() ? cat("exit code ", exit.code, "; see ", kMessages) : said, exit.code};
}

Outcome RunningTrial::completed() {
  const auto& objective = queue_.definition().settings.objective;
  const auto values = MetricTail(folder_ / "metrics.jsonl", objective.metric).read();
  if (values.empty())
    return {TrialState::failed, std::nullopt,
            cat("objective.metric: \"", printable(objective.metric),
                "\" is not in metrics.jsonl; known are ",
                join(metric_names(folder_ / "metrics.jsonl"), ", ")),
            static_cast<int>(ErrorKind::config)};
  double value = values.back().second;
  if (objective.reduce == Reduce::best)
    for (const auto& [step, other] : values)
      if (queue_.definition().better(other, value)) value = other;
  return {TrialState::complete, value, "", 0};
}

}  // namespace moe::sweep
