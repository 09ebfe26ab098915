#pragma once

#include <array>
#include <string_view>

namespace moe {

/// The names of an enum's values in files, in the order of the values; specialised per enum.
template <class Enum>
struct EnumNames;

/// A name that people look for and that is not offered.
struct RefusedName {
  std::string_view name, reason;
};
/// Those of an enum; specialised where there are any.
template <class Enum>
struct RefusedNames {
  static constexpr std::array<RefusedName, 0> names{};
};

}  // namespace moe
