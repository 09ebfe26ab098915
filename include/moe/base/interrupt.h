#pragma once

#include <array>
#include <csignal>

namespace moe {

/// Catches SIGINT and SIGTERM while it lives: the first asks long work to stop after its step, a
/// second one ends the process at once with 128 + signal. SIGPIPE and SIGXFSZ are ignored, so that
/// a closed pipe or a size limit shows as a failed write. One at a time (std::logic_error
/// otherwise); what stood before is put back when it goes.
class InterruptFlag {
 public:
  InterruptFlag();
  ~InterruptFlag();
  InterruptFlag(const InterruptFlag&) = delete;
  InterruptFlag& operator=(const InterruptFlag&) = delete;

  /// The signal that came, or 0.
  int signal() const noexcept;

 private:
  static constexpr std::array<int, 4> kSignals{SIGINT, SIGTERM, SIGPIPE, SIGXFSZ};
  std::array<struct sigaction, kSignals.size()> before_{};  // what stood, put back at the end
};

}  // namespace moe
