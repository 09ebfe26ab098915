#pragma once

#include <algorithm>
#include <string>
#include <string_view>
#include <vector>

#include "moe/base/json.h"
#include "moe/base/text.h"
#include "moe/config/config.h"

namespace moe::config_detail {

/// Problems found so far, each "path: what; remedy".
using Problems = std::vector<std::string>;

inline std::string joined_path(const std::string& path, std::string_view key) {
  return path.empty() ? std::string(key) : cat(path, ".", key);
}

std::string bounds_text(const Bounds& bounds);
bool within(double value, const Bounds& bounds);

bool read_value(const Json& json, std::int64_t& out, std::string& wanted);
bool read_value(const Json& json, double& out, std::string& wanted);
bool read_value(const Json& json, bool& out, std::string& wanted);
bool read_value(const Json& json, std::string& out, std::string& wanted);

template <class Enum>
requires std::is_enum_v<Enum>
bool read_value(const Json& json, Enum& out, std::string& wanted) {
  constexpr auto& names = EnumNames<Enum>::names;
  for (std::size_t i = 0; i < names.size(); ++i) {
    if (json.is_string() && json.get_ref<const std::string&>() == names[i]) {
      out = static_cast<Enum>(i);
      return true;
    }
    wanted += cat(i == 0 ? "one of \"" : ", \"", names[i], "\"");
  }
  return false;
}

template <class T>
void check_bounds(const T& value, const Bounds& bounds, const std::string& path,
                  Problems& problems) {
  if constexpr (std::is_same_v<T, std::int64_t> || std::is_same_v<T, double>)
    if (!within(static_cast<double>(value), bounds))
      problems.push_back(cat(path, ": ", value, " is out of range; give ", bounds_text(bounds)));
}

/// "a.b.c" and a value as {"a": {"b": {"c": value}}}.
Json nested(std::string_view key, Json value);

/// What to do about `key`, which is none of `keys`, of which `sections` have keys of their own.
std::string unknown_key_remedy(const std::string& key, const Json& value,
                               const std::vector<std::string>& keys,
                               const std::vector<std::string>& sections);

template <Section S>
void read_section(const Json& json, const std::string& path, S& out, Problems& problems);

/// Reads one member; on a problem it is written down and `out` stays.
template <class T>
void read_member(const Json& json, const Bounds& bounds, const std::string& path, T& out,
                 Problems& problems) {
  if constexpr (Section<T>) {
    read_section(json, path, out, problems);
  } else if constexpr (is_optional<T>::value) {
    if (json.is_null()) {
      out.reset();
      return;
    }
    typename T::value_type value{};
    const auto before = problems.size();
    read_member(json, bounds, path, value, problems);
    if (problems.size() == before) out = value;
  } else if constexpr (std::is_same_v<T, Betas>) {
    if (!json.is_array() || json.size() != 2) {
      problems.push_back(cat(path, ": ", shown(json), " is no pair; give two numbers"));
      return;
    }
    for (std::size_t i = 0; i < 2; ++i)
      read_member(json[i], bounds, cat(path, "[", i, "]"), out[i], problems);
  } else {
    std::string wanted;
    T value{};
    if (!read_value(json, value, wanted)) {
      problems.push_back(cat(path, ": ", shown(json), " does not fit; give ", wanted));
      return;
    }
    const auto before = problems.size();
    check_bounds(value, bounds, path, problems);
    if (problems.size() == before) out = value;
  }
}

template <Section S>
std::vector<std::string> keys_of() {
  std::vector<std::string> keys;
  for_each_field<S>([&](const auto& row) { keys.emplace_back(row.key); });
  return keys;
}

/// Those of the keys that have keys of their own.
template <Section S>
std::vector<std::string> sections_of() {
  std::vector<std::string> keys;
  for_each_field<S>([&](const auto& row) {
    using T = std::remove_cvref_t<decltype(std::declval<S>().*(row.member))>;
    if constexpr (Section<T>) keys.emplace_back(row.key);
  });
  return keys;
}

template <Section S>
void read_section(const Json& json, const std::string& path, S& out, Problems& problems) {
  if (!json.is_object()) {
    problems.push_back(
        cat(path.empty() ? "the file" : path, ": ", shown(json), " is no object; write {...}"));
    return;
  }
  const auto keys = keys_of<S>();
  for (const auto& item : json.items()) {
    const auto& key = item.key();
    const auto& value = item.value();
    bool known = false;
    for_each_field<S>([&](const auto& row) {
      if (row.key != key) return;
      known = true;
      read_member(value, row.bounds, joined_path(path, key), out.*(row.member), problems);
    });
    if (known) continue;
    problems.push_back(cat(joined_path(path, printable(key)), ": unknown key; ",
                           unknown_key_remedy(key, value, keys, sections_of<S>())));
  }
}

template <class T>
Json member_to_json(const T& value) {
  if constexpr (Section<T>) {
    Json json = Json::object();
    for_each_field<T>(
        [&](const auto& row) { json[std::string(row.key)] = member_to_json(value.*(row.member)); });
    return json;
  } else if constexpr (is_optional<T>::value) {
    return value ? member_to_json(*value) : Json(nullptr);
  } else if constexpr (std::is_enum_v<T>) {
    return std::string(EnumNames<T>::names[static_cast<std::size_t>(value)]);
  } else {
    return value;
  }
}

/// What people call the type.
template <class T>
std::string type_name() {
  if constexpr (is_optional<T>::value)
    return type_name<typename T::value_type>() + " or null";
  else if constexpr (std::is_same_v<T, std::int64_t>)
    return "integer";
  else if constexpr (std::is_same_v<T, double>)
    return "number";
  else if constexpr (std::is_same_v<T, bool>)
    return "boolean";
  else if constexpr (std::is_same_v<T, Betas>)
    return "two numbers";
  else
    return "text";
}

inline std::string padded(std::string text, std::size_t width) {
  text.resize(std::max(width, text.size() + 1), ' ');
  return text;
}

/// Every key of the section with type, default, bounds and meaning, a line each.
template <Section S>
void describe(const S& section, const std::string& path, std::string& out) {
  for_each_field<S>([&](const auto& row) {
    const auto& value = section.*(row.member);
    using T = std::remove_cvref_t<decltype(value)>;
    const auto key = joined_path(path, row.key);
    if constexpr (Section<T>) {
      describe(value, key, out);
    } else {
      out += padded(key, 36) + padded(type_name<T>(), 17) +
             padded(json_text(member_to_json(value)), 16) + std::string(row.help);
      if (row.bounds.min) out += cat(" (", bounds_text(row.bounds), ")");
      if constexpr (std::is_enum_v<T>) {
        const auto& names = EnumNames<T>::names;
        out += cat(" (", join(std::vector<std::string>(names.begin(), names.end()), " | "), ")");
      }
      out += "\n";
    }
  });
}

}  // namespace moe::config_detail
