#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <string_view>
#include <tuple>
#include <type_traits>
#include <utility>
#include <vector>

#include "moe/spec/names.h"

namespace moe {

/// What a number may be, both ends included.
struct Bounds {
  std::optional<double> min = {}, max = {};
};
constexpr Bounds at_least(double min) { return {min, {}}; }
constexpr Bounds between(double min, double max) { return {min, max}; }
/// A count of steps, or of what comes at most once a step: more would take thirty years at a
/// thousand a second, and sums of such counts stay far from the end of an int64.
inline constexpr double kMostSteps = 1e12;
constexpr Bounds steps_from(double min) { return between(min, kMostSteps); }

/// Whether a resumed run may differ from its saved config in a key.
enum class OnResume { fixed, may_change };

/// The one place that ties a key to its member, help and bounds: reading, writing, --set, schema,
/// the rule for --resume and documentation are visitors of these rows.
template <class Struct, class T>
struct Field {
  std::string_view key;
  T Struct::*member;
  std::string_view help;  // unit in brackets: [tokens], [steps], [s]
  Bounds bounds = {};
  OnResume on_resume = OnResume::fixed;
};
template <class S, class T, class... Rest>
Field(std::string_view, T S::*, std::string_view, Rest...) -> Field<S, T>;

/// A struct of the config tree: it has rows.
template <class T>
concept Section = requires {
  T::fields();
};

template <class T>
struct is_optional : std::false_type {};
template <class T>
struct is_optional<std::optional<T>> : std::true_type {};

template <class T>
struct is_list : std::false_type {};
template <class T>
struct is_list<std::vector<T>> : std::true_type {};

template <Section S, class Visit>
constexpr void for_each_field(Visit&& visit) {
  std::apply([&](const auto&... row) { (visit(row), ...); }, S::fields());
}

namespace detail {
struct AnyValue {
  template <class T>
  operator T() const;
};
}  // namespace detail

/// Counts the members of an aggregate by brace initialisation.
template <class T, class... Values>
consteval std::size_t member_count() {
  if constexpr (requires { T{Values{}..., detail::AnyValue{}}; })
    return member_count<T, Values..., detail::AnyValue>();
  else
    return sizeof...(Values);
}

/// The compiler refuses a member without a row.
template <class S>
inline constexpr bool table_is_complete =
    member_count<S>() == std::tuple_size_v<decltype(S::fields())>;

}  // namespace moe
