#pragma once

#include <array>
#include <cstddef>
#include <string_view>

namespace moe {

/// What kind of symbol a code point is, for tables that tell kinds apart. Kinds are told within
/// ASCII; all beyond it is `other`, as are control characters but the newline and the tab.
enum class SymbolClass { lower_case, upper_case, digit, punctuation, space, newline, other };

/// Of each class, in the enum's order.
inline constexpr std::array<std::string_view, 7> kSymbolClasses{
    "lower case", "upper case", "digit", "punctuation", "space", "newline", "other"};

constexpr SymbolClass class_of(char32_t symbol) {
  if (symbol >= U'a' && symbol <= U'z') return SymbolClass::lower_case;
  if (symbol >= U'A' && symbol <= U'Z') return SymbolClass::upper_case;
  if (symbol >= U'0' && symbol <= U'9') return SymbolClass::digit;
  if (symbol == U' ' || symbol == U'\t') return SymbolClass::space;
  if (symbol == U'\n') return SymbolClass::newline;
  return symbol > U' ' && symbol <= U'~' ? SymbolClass::punctuation : SymbolClass::other;
}

}  // namespace moe
