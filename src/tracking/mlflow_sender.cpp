#include "tracking/mlflow_sender.h"

#include <pthread.h>
#include <signal.h>

#include <algorithm>
#include <chrono>
#include <condition_variable>
#include <mutex>
#include <system_error>

#include "moe/base/interrupt.h"
#include "moe/base/program.h"
#include "moe/base/text.h"

namespace moe::tracking {

namespace {

using std::chrono::duration;

constexpr duration<double> kBetweenPasses{1};  // rows that come within it go together
constexpr duration<double> kFirstPause{1}, kLongestPause{60};  // between attempts that fail
constexpr duration<double> kRetryAtEnd{0.25};
constexpr duration<double> kLookForSignals{0.05};
constexpr duration<double> kCancelled{1};  // a request that is cancelled ends within it, or never

duration<double> pause_after(int failures) {
  return std::min(kLongestPause,
                  kFirstPause * static_cast<double>(1U << std::min(failures - 1, 8)));
}

/// Signals are for the thread that trains.
class BlockedSignals {
 public:
  BlockedSignals() {
    sigset_t all;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before_);
  }
  ~BlockedSignals() { pthread_sigmask(SIG_SETMASK, &before_, nullptr); }
  BlockedSignals(const BlockedSignals&) = delete;
  BlockedSignals& operator=(const BlockedSignals&) = delete;

 private:
  sigset_t before_{};
};

}  // namespace

/// What the thread works with. It holds no reference that may die before it, but `log`, which it
/// does not touch once it is cancelled.
struct MlflowSender::Work {
  Work(fs::path run_folder, const RunConfig& config, const MlflowTarget& target,
       const FileLayer& layer, Log& messages)
      : run(std::move(run_folder)),
        origin(target.address.origin),
        files(layer),
        log(messages),
        http(connect(target.address, target.login)),
        server(run, config, *http, target.address, files, log) {}

  void loop();
  bool attempt(bool is_last);
  void failed(const std::string& what);

  fs::path run;
  std::string origin;
  FileLayer files;  // of its own: it counts operations, and is not for two threads
  Log& log;
  std::unique_ptr<Http> http;
  MlflowRun server;

  std::mutex mutex;  // for what follows
  std::condition_variable changed;
  bool has_rows = true, is_ending = false, is_done = false, is_cancelled = false;
  bool is_complete = false;  // with is_done: nothing is left to send
  bool has_warned = false;
};

void MlflowSender::Work::loop() {
  int failures = 0;
  std::unique_lock lock(mutex);
  while (true) {
    if (failures == 0) changed.wait(lock, [&] { return has_rows || is_ending; });
    const bool is_last = is_ending;
    has_rows = false;
    lock.unlock();
    const bool sent = attempt(is_last);
    lock.lock();
    // A server that failed just now may come back while there is time; one that had failed before
    // gets one more attempt.
    const bool gives_up = is_last && failures > 0;
    if (is_cancelled || (is_last && sent) || gives_up) {
      is_complete = sent;
      is_done = true;
      changed.notify_all();
      return;
    }
    if (is_last) {
      changed.wait_for(lock, kRetryAtEnd, [&] { return is_cancelled; });
      continue;
    }
    failures = sent ? 0 : failures + 1;
    changed.wait_for(lock, sent ? kBetweenPasses : pause_after(failures),
                     [&] { return is_ending; });
  }
}

bool MlflowSender::Work::attempt(bool is_last) {
  try {
    server.announce();
    server.reopen();
    server.send_rows();
    if (is_last) server.close();
    return true;
  } catch (const std::exception& error) {
    failed(error.what());
    return false;
  }
}

void MlflowSender::Work::failed(const std::string& what) {
  const std::lock_guard lock(mutex);
  if (is_cancelled || has_warned) return;
  has_warned = true;
  log.warn(cat("mlflow: ", what, " (training continues, and sending is tried again)"));
}

MlflowSender::MlflowSender(fs::path run, const RunConfig& config, const MlflowTarget& target,
                           const FileLayer& files, Log& log) {
  try {
    work_ = std::make_shared<Work>(std::move(run), config, target, files, log);
    const BlockedSignals blocked;
    thread_ = std::thread([work = work_] { work->loop(); });
  } catch (const std::exception& error) {  // no such address, no thread to be had
    log.warn(cat("mlflow: ", target.address.origin, ": ", error.what(), " (training continues)"));
    work_.reset();
  }
}

MlflowSender::~MlflowSender() { stop(); }

void MlflowSender::wake() {
  if (!work_) return;
  const std::lock_guard lock(work_->mutex);
  work_->has_rows = true;
  work_->changed.notify_all();
}

void MlflowSender::end(double seconds, bool heeds_signals) {
  if (!work_) return;
  const auto work = work_;
  {
    std::unique_lock lock(work->mutex);
    work->is_ending = true;
    work->changed.notify_all();
    const auto until = std::chrono::steady_clock::now() + duration<double>(seconds);
    const auto is_over = [&] {
      return work->is_done || std::chrono::steady_clock::now() >= until ||
             (heeds_signals && stop_signal() != 0);
    };
    while (!work->changed.wait_for(lock, kLookForSignals, is_over)) continue;
  }
  stop();
  const std::lock_guard lock(work->mutex);
  if (work->is_complete) return;
  const auto unsent = work->is_done ? count_unsent(work->run, work->server.sent()) : -1;
  const auto what = unsent < 0    ? std::string("some rows")
                    : unsent == 0 ? std::string("the end of the run")
                                  : cat(unsent, unsent == 1 ? " row" : " rows");
  work->log.warn(cat("mlflow: ", what, " did not reach ", work->origin, "; the run folder keeps ",
                     unsent == 0 ? "it" : "them",
                     ", send with: ", command_line({"track", "push", work->run.string()})));
}

void MlflowSender::stop() {
  if (!thread_.joinable()) return;
  {
    std::unique_lock lock(work_->mutex);
    work_->is_cancelled = !work_->is_done;
    work_->is_ending = true;
    work_->changed.notify_all();
  }
  work_->http->cancel();
  std::unique_lock lock(work_->mutex);
  const bool done = work_->changed.wait_for(lock, kCancelled, [&] { return work_->is_done; });
  lock.unlock();
  if (done)
    thread_.join();
  else
    thread_.detach();
}

}  // namespace moe::tracking
