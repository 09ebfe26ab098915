#include "moe/base/interrupt.h"

#include <unistd.h>

#include <atomic>
#include <stdexcept>

namespace moe {

namespace {

// A handler can reach nothing else: the one piece of global state, owned by InterruptFlag.
std::atomic<int> received = 0;
std::atomic<bool> alive = false;
static_assert(std::atomic<int>::is_always_lock_free, "only then may a signal handler use it");

extern "C" void on_signal(int signal) {
  int none = 0;
  if (!received.compare_exchange_strong(none, signal)) _exit(128 + signal);
}

}  // namespace

InterruptFlag::InterruptFlag() {
  if (alive.exchange(true)) throw std::logic_error("InterruptFlag: one at a time");
  received = 0;
  for (std::size_t i = 0; i < kSignals.size(); ++i) {
    struct sigaction action = {};
    const bool asks_to_stop = kSignals[i] == SIGINT || kSignals[i] == SIGTERM;
    action.sa_handler = asks_to_stop ? on_signal : SIG_IGN;
    sigemptyset(&action.sa_mask);
    sigaction(kSignals[i], &action, &before_[i]);
  }
}

InterruptFlag::~InterruptFlag() {
  for (std::size_t i = 0; i < kSignals.size(); ++i) sigaction(kSignals[i], &before_[i], nullptr);
  alive = false;
}

int InterruptFlag::signal() const noexcept { return received; }

}  // namespace moe
