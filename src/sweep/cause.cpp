#include "sweep/cause.h"

#include <csignal>

#include "moe/base/error.h"

namespace moe::sweep {

Cause cause_of(const Exit& exit, std::string_view said) {
  if (exit.signal != 0) return exit.signal == SIGKILL ? Cause::killed : Cause::trial;
  // What says that memory is short (check_memory, require_memory): the trial is too large. Likewise
  // what asks for a precision that this machine does not have (check_precision).
  const bool asks_too_much = said.starts_with("memory: ") ||
                             said.find(" of memory, ") != std::string_view::npos ||
                             said.starts_with("train.precision: ");
  const bool is_resource = exit.code == static_cast<int>(ErrorKind::resource);
  return is_resource && !asks_too_much ? Cause::outside : Cause::trial;
}

}  // namespace moe::sweep
