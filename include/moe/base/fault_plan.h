#pragma once

#include <cstdint>
#include <string>
#include <string_view>

namespace moe {

/// A fault to provoke, for tests. Parsed from MAKEMOE_TEST_FAULT by the command line.
/// - By number: at the `operation`-th change to the disk (from 1), either the process dies as by
///   kill -9, or the operation fails with `error_number` (each later one too when `sticky`):
///   "crash@7", "ENOSPC@3", "EIO@3+" ("+" is sticky), "short@3" (half of the bytes of a write or
///   append are written, then ENOSPC; other operations fail with it).
/// - By kind: each operation of a kind fails, as on a file system that does not have it:
/// "EINVAL@fsync",
///   "ENOLCK@locking", "EBUSY@renaming", "EPERM@removing".
struct FaultPlan {
  enum class Action { none, crash, fail, short_write } action = Action::none;
  std::int64_t operation = 0;  // 0: by kind
  int error_number = 0;
  bool sticky = false;
  std::string kind = {};

  /// Throws ConfigError for a text of another form.
  static FaultPlan parse(std::string_view text);
  /// Whether it strikes the `number`-th change, which is of `what` kind.
  bool is_due(std::int64_t number, std::string_view what) const;
};

}  // namespace moe
