#include "moe/base/interrupt.h"

#include <fcntl.h>
#include <poll.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <stdexcept>
#include <tuple>

#include "moe/base/text.h"

namespace moe {

namespace {

// A handler can reach nothing else: the one piece of global state, owned by InterruptFlag.
std::atomic<int> received = 0, saves = 0;
std::atomic<bool> alive = false;
// A pipe that has something to read once a signal asks to stop: who waits for a descriptor waits
// for this one too, whichever thread the signal met, and whether it came before the wait or within
// it.
std::atomic<int> wake_read = -1, wake_write = -1;
static_assert(std::atomic<int>::is_always_lock_free, "only then may a signal handler use it");

// The worker of a sweep whose trial this is; 0: it is none. A supervisor (systemd, Slurm) that
// stops the worker signals its trials too, and then the worker asks them again: that is not
// impatience.
std::atomic<int> worker = 0;

extern "C" void on_signal(int signal, siginfo_t* info, void* /*context*/) {
  const int error = errno;
  const bool is_of_worker = info->si_code == SI_USER && worker != 0 && info->si_pid == worker;
  int none = 0;
  if (signal == SIGUSR1)
    ++saves;
  else if (received.compare_exchange_strong(none, signal))
    std::ignore = ::write(wake_write, "", 1);
  else if (signal != SIGHUP && signal != SIGXCPU && !is_of_worker)
    ::_exit(128 + signal);
  errno = error;
}

/// Waits until the descriptor is ready for `events` or a signal asks to stop, then says whether it
/// is.
bool is_ready(int descriptor, short events) {
  while (true) {
    std::array<pollfd, 2> both{{{descriptor, events, 0}, {wake_read, POLLIN, 0}}};
    const bool stopping = received != 0;
    const int count = ::poll(both.data(), both.size(), stopping ? 0 : -1);
    if (both[0].revents != 0 && count > 0) return true;
    if (count < 0 && errno != EINTR) return true;  // reading or writing will say what is wrong
    if (stopping) return false;
  }
}

}  // namespace

InterruptFlag::InterruptFlag() {
  if (alive.exchange(true)) throw std::logic_error("InterruptFlag: one at a time");
  received = 0;
  saves = 0;
  const auto* name = std::getenv(kWorkerVariable);
  worker = name != nullptr ? std::atoi(name) : 0;
  std::array<int, 2> wake{-1, -1};
  std::ignore = ::pipe2(wake.data(), O_CLOEXEC | O_NONBLOCK);  // without it polls end by EINTR
  wake_read = wake[0];
  wake_write = wake[1];
  sigset_t caught;
  sigemptyset(&caught);
  for (std::size_t i = 0; i < kSignals.size(); ++i) {
    const bool is_failed_write = kSignals[i] == SIGPIPE || kSignals[i] == SIGXFSZ;
    sigaction(kSignals[i], nullptr, &before_[i]);
    if (before_[i].sa_handler == SIG_IGN) continue;
    struct sigaction action = {};
    if (is_failed_write) {
      action.sa_handler = SIG_IGN;
    } else {
      action.sa_sigaction = on_signal;
      action.sa_flags = SA_SIGINFO;
    }
    sigemptyset(&action.sa_mask);
    sigaction(kSignals[i], &action, nullptr);
    if (!is_failed_write) sigaddset(&caught, kSignals[i]);
  }
  pthread_sigmask(SIG_UNBLOCK, &caught, &mask_before_);
}

InterruptFlag::~InterruptFlag() {
  pthread_sigmask(SIG_SETMASK, &mask_before_, nullptr);
  for (std::size_t i = 0; i < kSignals.size(); ++i) sigaction(kSignals[i], &before_[i], nullptr);
  for (auto* end : {&wake_read, &wake_write}) ::close(end->exchange(-1));
  alive = false;
}

int InterruptFlag::signal() const noexcept { return received; }
int InterruptFlag::saves_asked() const noexcept { return saves; }

int stop_signal() noexcept { return alive ? received.load() : 0; }

std::string signal_text(int signal) {
  const char* name = ::sigabbrev_np(signal);
  const auto text = name != nullptr ? cat("SIG", name) : cat("signal ", signal);
  return signal == SIGINT ? cat("Ctrl-C (", text, ")") : text;
}

bool wait_for_input(int descriptor) { return is_ready(descriptor, POLLIN) && stop_signal() == 0; }

bool wait_for_output(int descriptor) { return is_ready(descriptor, POLLOUT); }

int write_stream(int descriptor, const char* text, std::size_t size) {
  constexpr std::size_t kAtOnce = 4096;  // what a pipe that can be written to takes without a wait
  while (size > 0) {
    if (!wait_for_output(descriptor)) return ECANCELED;
    const auto written = ::write(descriptor, text, std::min(size, kAtOnce));
    if (written < 0 && errno != EINTR && errno != EAGAIN) return errno;
    text += std::max<ssize_t>(0, written);
    size -= static_cast<std::size_t>(std::max<ssize_t>(0, written));
  }
  return 0;
}

}  // namespace moe
