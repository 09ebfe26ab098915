#pragma once

namespace moe {

/// Catches SIGINT and SIGTERM while it lives: the first asks long work to stop after its step, a
/// second one ends the process at once with 128 + signal. SIGPIPE and SIGXFSZ are ignored, so that
/// a closed pipe or a size limit shows as a failed write. One at a time.
class InterruptFlag {
 public:
  InterruptFlag();
  ~InterruptFlag();
  InterruptFlag(const InterruptFlag&) = delete;
  InterruptFlag& operator=(const InterruptFlag&) = delete;

  /// The signal that came, or 0.
  int signal() const noexcept;
};

}  // namespace moe
