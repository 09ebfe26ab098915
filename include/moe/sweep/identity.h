#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "moe/base/json.h"

namespace moe::sweep {

/// A process, so that another one can tell whether it is gone.
struct Identity {
  std::string host;
  std::string domain;  // boot and pid namespace: only within one do pids mean anything
  std::int64_t pid = 0;
  std::int64_t started = 0;  // [ticks since boot], so that a pid used again is another process

  bool operator==(const Identity&) const = default;

  /// This process.
  static Identity mine();
  /// False only where it certainly is gone: same domain, and no such process any more.
  bool may_live() const;
  /// "moe-HOST-PID-STARTED", for journals and people.
  std::string name() const;
  Json to_json() const;
  /// nullopt for anything that to_json did not write.
  static std::optional<Identity> from_json(const Json& json);
};

}  // namespace moe::sweep
