#include "moe/base/fault_plan.h"

#include <algorithm>
#include <array>
#include <cerrno>
#include <charconv>
#include <utility>

#include "moe/base/error.h"
#include "moe/base/text.h"

namespace moe {

namespace {

constexpr std::array<std::pair<std::string_view, int>, 9> kErrors{{{"EIO", EIO},
                                                                   {"ENOSPC", ENOSPC},
                                                                   {"EPERM", EPERM},
                                                                   {"EBUSY", EBUSY},
                                                                   {"EXDEV", EXDEV},
                                                                   {"EINVAL", EINVAL},
                                                                   {"ENOSYS", ENOSYS},
                                                                   {"ENOLCK", ENOLCK},
                                                                   {"EOPNOTSUPP", EOPNOTSUPP}}};
constexpr std::array<std::string_view, 4> kKinds{"fsync", "locking", "renaming", "removing"};

}  // namespace

FaultPlan FaultPlan::parse(std::string_view text) {
  const auto refuse = [&](std::string_view what) {
    throw ConfigError(cat("fault plan \"", printable(text), "\": ", what));
  };
  FaultPlan plan;
  const auto at = text.find('@');
  if (at == std::string_view::npos) refuse("no \"@\"; give ACTION@OPERATION, e.g. crash@7");
  const auto name = text.substr(0, at);
  auto number = text.substr(at + 1);
  const auto* const error_of =
      std::ranges::find(kErrors, name, &std::pair<std::string_view, int>::first);
  if (name == "crash") {
    plan.action = Action::crash;
  } else if (name == "short") {
    plan.action = Action::short_write;
    plan.error_number = ENOSPC;
  } else if (error_of != kErrors.end()) {
    plan.action = Action::fail;
    plan.error_number = error_of->second;
  } else {
    refuse("unknown action; give crash, short or an error, e.g. EIO");
  }
  if (plan.action == Action::fail && std::ranges::find(kKinds, number) != kKinds.end()) {
    plan.kind = number;
    return plan;
  }
  plan.sticky = number.ends_with('+');
  if (plan.sticky) number.remove_suffix(1);
  const auto* const last = number.data() + number.size();
  const auto [end, error] = std::from_chars(number.data(), last, plan.operation);
  if (error != std::errc() || end != last || plan.operation < 1)
    refuse(
        "the operation is neither a number from 1 nor a kind; give e.g. crash@7, ENOLCK@locking");
  return plan;
}

bool FaultPlan::is_due(std::int64_t number, std::string_view what) const {
  if (action == Action::none) return false;
  if (operation == 0) return what == kind;
  return sticky ? number >= operation : number == operation;
}

}  // namespace moe
