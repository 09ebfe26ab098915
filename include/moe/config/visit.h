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

/// Reads the names of texts: a string, or a list of them.
void read_names(const Json& json, const std::string& path, TextNames& out, Problems& problems);
Json names_to_json(const TextNames& names);

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

/// Why the name is known and yet not offered; "" where it is not one of these.
template <class Enum>
std::string_view refusal_of(const Json& json) {
  for (const auto& refused : RefusedNames<Enum>::names)
    if (json.is_string() && json.get_ref<const std::string&>() == refused.name)
      return refused.reason;
  return "";
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

template <class T>
void read_list(const Json& json, const Bounds& bounds, const std::string& path, std::vector<T>& out,
               Problems& problems);

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
  } else if constexpr (is_list<T>::value) {
    read_list(json, bounds, path, out, problems);
  } else if constexpr (std::is_same_v<T, TextNames>) {
    read_names(json, path, out, problems);
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
      if constexpr (std::is_enum_v<T>)
        if (const auto reason = refusal_of<T>(json); !reason.empty()) {
          problems.push_back(
              cat(path, ": ", shown(json), " is not offered: ", reason, "; give ", wanted));
          return;
        }
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

/// The key that says what an element of a list of objects is: its first.
template <Section S>
constexpr std::string_view kind_key() {
  return std::get<0>(S::fields()).key;
}

/// Reads an object in the place of a list of objects: one with a kind is the whole list, one
/// without changes the only element that there is.
template <Section S>
void read_only_element(const Json& json, const std::string& path, std::vector<S>& out,
                       Problems& problems) {
  const bool is_new = json.contains(kind_key<S>());
  if (!is_new && out.size() != 1) {
    problems.push_back(cat(path, ": ", shown(json), " has no ", kind_key<S>(), ", and there are ",
                           out.size(), " elements to change; give its ", kind_key<S>()));
    return;
  }
  S element = is_new ? S{} : out.front();
  const auto before = problems.size();
  read_section(json, path, element, problems);
  if (problems.size() > before) return;
  out.assign(1, element);
}

template <Section S>
void read_element(const Json& json, const std::string& path, S& out, Problems& problems) {
  if (json.is_object() && !json.contains(kind_key<S>()))
    problems.push_back(cat(path, ".", kind_key<S>(), ": is missing; give it"));
  read_section(json, path, out, problems);
}

/// Elements that say nothing are left out.
template <class T>
void read_list(const Json& json, const Bounds& bounds, const std::string& path, std::vector<T>& out,
               Problems& problems) {
  if constexpr (Section<T>)
    if (json.is_object()) {
      read_only_element(json, path, out, problems);
      std::erase_if(out, [](const T& element) { return element.is_none(); });
      return;
    }
  if (!json.is_array()) {
    problems.push_back(cat(path, ": ", shown(json), " is no list; write [...]"));
    return;
  }
  const auto before = problems.size();
  std::vector<T> values(json.size());
  for (std::size_t i = 0; i < json.size(); ++i) {
    const auto here = cat(path, "[", i, "]");
    if constexpr (Section<T>)
      read_element(json[i], here, values[i], problems);
    else
      read_member(json[i], bounds, here, values[i], problems);
  }
  if constexpr (Section<T>)
    std::erase_if(values, [](const T& element) { return element.is_none(); });
  if (problems.size() == before) out = std::move(values);
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
  } else if constexpr (is_list<T>::value) {
    Json json = Json::array();
    for (const auto& element : value) json.push_back(member_to_json(element));
    return json;
  } else if constexpr (std::is_enum_v<T>) {
    return std::string(EnumNames<T>::names[static_cast<std::size_t>(value)]);
  } else if constexpr (std::is_same_v<T, TextNames>) {
    return names_to_json(value);
  } else {
    return value;
  }
}

/// What people call the type.
template <class T>
std::string type_name() {
  if constexpr (is_optional<T>::value)
    return type_name<typename T::value_type>() + " or null";
  else if constexpr (Section<T>)
    return "object";
  else if constexpr (is_list<T>::value)
    return cat("list of ", type_name<typename T::value_type>(), "s");
  else if constexpr (std::is_same_v<T, std::int64_t>)
    return "integer";
  else if constexpr (std::is_same_v<T, double>)
    return "number";
  else if constexpr (std::is_same_v<T, bool>)
    return "boolean";
  else if constexpr (std::is_same_v<T, Betas>)
    return "two numbers";
  else if constexpr (std::is_same_v<T, TextNames>)
    return "text or texts";
  else
    return "text";
}

inline std::string padded(std::string text, std::size_t width) {
  text.resize(std::max(width, text.size() + 1), ' ');
  return text;
}

/// What a value of the row may be: " (from 0 to 1)", " (one | other)"; "" where that is all.
template <class Struct, class T>
std::string limits_text(const Field<Struct, T>& row) {
  std::string out;
  if (row.bounds.min) out += cat(" (", bounds_text(row.bounds), ")");
  if constexpr (std::is_enum_v<T>) {
    const auto& names = EnumNames<T>::names;
    out += cat(" (", join(std::vector<std::string>(names.begin(), names.end()), " | "), ")");
  }
  return out;
}

/// "; kind: ... (a | b); weight, 0.01: ... (from 0 to 1)": the keys of a list's elements.
template <Section S>
std::string element_keys() {
  std::string out;
  for_each_field<S>([&](const auto& row) {
    const auto is_kind = row.key == kind_key<S>();
    const auto value = json_text(member_to_json(S{}.*(row.member)));
    out += cat("; ", row.key, is_kind ? "" : cat(", ", value), ": ", row.help, limits_text(row));
  });
  return out;
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
      out += padded(key, 44) + padded(type_name<T>(), 17) +
             padded(json_text(member_to_json(value)), 16) + std::string(row.help) +
             limits_text(row);
      if constexpr (is_list<T>::value)
        if constexpr (Section<typename T::value_type>)
          out += element_keys<typename T::value_type>();
      out += "\n";
    }
  });
}

}  // namespace moe::config_detail
