#include "moe/base/interrupt.h"

#include <unistd.h>

#include <csignal>

namespace moe {

namespace {

// A handler can reach nothing else: the one piece of global state, owned by InterruptFlag.
volatile std::sig_atomic_t received = 0;

extern "C" void on_signal(int signal) {
  if (received != 0) _exit(128 + signal);
  received = signal;
}

}  // namespace

InterruptFlag::InterruptFlag() {
  received = 0;
  struct sigaction action = {};
  action.sa_handler = on_signal;
  sigemptyset(&action.sa_mask);
  sigaction(SIGINT, &action, nullptr);
  sigaction(SIGTERM, &action, nullptr);
  std::signal(SIGPIPE, SIG_IGN);
  std::signal(SIGXFSZ, SIG_IGN);
}

InterruptFlag::~InterruptFlag() {
  std::signal(SIGINT, SIG_DFL);
  std::signal(SIGTERM, SIG_DFL);
}

int InterruptFlag::signal() const noexcept { return received; }

}  // namespace moe
