#pragma once

#include <filesystem>
#include <functional>
#include <string>

#include "moe/sweep/identity.h"

namespace moe::sweep {

/// Who is told of a long wait for a lock.
struct LongWait {
  double after_s = 1.5;                              // when a wait is long
  std::function<void(const std::string&)> say = {};  // told once who is waited for
};

/// Optuna's lock of a journal, `JOURNAL.lock` made with O_EXCL, so that its writers and ours
/// exclude each other, on NFS too. A lock that stands still for 30 s is taken over, as Optuna does;
/// one whose holder died on this machine at once (ADR 0021).
class JournalLock {
 public:
  struct Patience {
    double takeover_s = 30;
  };

  /// Waits until it has the lock. Throws ResourceError when the file can not be made, Interrupted
  /// when a first signal that asks to stop comes within the wait.
  explicit JournalLock(const std::filesystem::path& journal, const LongWait& wait = {})
      : JournalLock(journal, Patience{}, wait) {}
  JournalLock(const std::filesystem::path& journal, Patience patience, const LongWait& wait = {});
  ~JournalLock();
  JournalLock(const JournalLock&) = delete;
  JournalLock& operator=(const JournalLock&) = delete;

  /// Whether nobody has taken it over meanwhile: asked right before writing.
  bool is_mine() const;

 private:
  bool try_take();

  std::filesystem::path path_;
  std::string token_;  // what our lock file holds; differs at each taking
};

}  // namespace moe::sweep
