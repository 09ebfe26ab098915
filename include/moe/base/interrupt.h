#pragma once

#include <array>
#include <csignal>
#include <string>

namespace moe {

/// The environment variable in which a worker of a sweep tells a trial its own process number: what
/// that process sends after a first signal never ends the trial at once.
inline constexpr const char* kWorkerVariable = "MAKEMOE_WORKER_PID";

/// Catches signals while it lives.
/// - SIGINT, SIGTERM, SIGHUP, SIGUSR2 and SIGXCPU ask long work to stop after its step. A further
///   SIGINT, SIGTERM or SIGUSR2 ends the process at once with 128 + signal. A further SIGHUP or
///   SIGXCPU does not: a closed terminal sends several, a CPU limit one each second (ADR 34).
/// - SIGUSR1 asks for a checkpoint.
/// - SIGPIPE and SIGXFSZ are ignored, so that a closed pipe or a size limit shows as a failed
/// write. What was ignored before stays ignored, as under nohup; what was blocked is let through.
/// One at a time (std::logic_error otherwise); what stood before is put back when it goes.
class InterruptFlag {
 public:
  InterruptFlag();
  ~InterruptFlag();
  InterruptFlag(const InterruptFlag&) = delete;
  InterruptFlag& operator=(const InterruptFlag&) = delete;

  /// The first signal that asked to stop, or 0.
  int signal() const noexcept;
  /// How often SIGUSR1 came.
  int saves_asked() const noexcept;

 private:
  // SIGTERM last: who sees it caught may send any of them.
  static constexpr std::array<int, 8> kSignals{SIGPIPE, SIGXFSZ, SIGUSR1, SIGUSR2,
                                               SIGXCPU, SIGHUP,  SIGINT,  SIGTERM};
  std::array<struct sigaction, kSignals.size()> before_{};  // what stood, put back at the end
  sigset_t mask_before_{};
};

/// The same as InterruptFlag::signal(), for what waits deep inside; 0 where there is no flag.
int stop_signal() noexcept;

/// "SIGTERM", "Ctrl-C (SIGINT)": for people.
std::string signal_text(int signal);

/// Waits until there is something to read, or the end of it. False once a signal asks to stop.
bool wait_for_input(int descriptor);
/// Waits until something can be written. Once a signal asks to stop it waits no more: false where
/// nothing can be written at that moment.
bool wait_for_output(int descriptor);

/// Writes all of `text` to a terminal, a pipe or a file; the system's error number, or 0. Once a
/// signal asks to stop, a reader that takes nothing is not waited for (ECANCELED).
int write_stream(int descriptor, const char* text, std::size_t size);

}  // namespace moe
