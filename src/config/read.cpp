#include <cmath>

#include "moe/config/visit.h"

namespace moe {

std::string TextNames::shown() const {
  if (names_.size() < 2) return names_.empty() ? "" : names_.front();
  return cat(names_.front(), " and ", names_.size() - 1, " more");
}

}  // namespace moe

namespace moe::config_detail {

namespace {

/// "1e12", "1e-9", "0.5": as people write it, without the padding of 1e+12 and 1e-09.
std::string bound_text(double value) {
  auto text = cat(value);
  const auto exponent = text.find('e');
  if (exponent == std::string::npos) return text;
  const auto sign = exponent + 1;
  text.erase(sign + 1, text.find_first_not_of('0', sign + 1) - sign - 1);
  if (text[sign] == '+') text.erase(sign, 1);
  return text;
}

}  // namespace

std::string bounds_text(const Bounds& bounds) {
  if (bounds.min && bounds.max)
    return cat("from ", bound_text(*bounds.min), " to ", bound_text(*bounds.max));
  if (bounds.min) return cat("at least ", bound_text(*bounds.min));
  return "any value";
}

bool within(double value, const Bounds& bounds) {
  return std::isfinite(value) && !(bounds.min && value < *bounds.min) &&
         !(bounds.max && value > *bounds.max);
}

Json nested(std::string_view key, Json value) {
  const auto dot = key.rfind('.');
  if (dot == std::string_view::npos) return {{std::string(key), std::move(value)}};
  return nested(key.substr(0, dot), {{std::string(key.substr(dot + 1)), std::move(value)}});
}

std::string unknown_key_remedy(const std::string& key, const Json& value,
                               const std::vector<std::string>& keys,
                               const std::vector<std::string>& sections) {
  constexpr std::size_t kLongest = 200;  // hostile keys may be megabytes of dots
  const auto dot = key.find('.');
  if (key.size() < kLongest && std::ranges::find(sections, key.substr(0, dot)) != sections.end())
    return "write it nested: " + shown(nested(key, value));
  const auto near = nearest(key, keys);
  return near.empty() ? cat("known are ", join(keys, ", ")) : cat("did you mean \"", near, "\"?");
}

bool read_value(const Json& json, std::int64_t& out, std::string& wanted) {
  wanted = "a whole number";
  if (!json.is_number_integer()) return false;
  if (json.is_number_unsigned() && json.get<std::uint64_t>() > INT64_MAX) return false;
  out = json.get<std::int64_t>();
  return true;
}

bool read_value(const Json& json, double& out, std::string& wanted) {
  wanted = "a number";
  if (!json.is_number()) return false;
  out = json.get<double>();
  return true;
}

bool read_value(const Json& json, bool& out, std::string& wanted) {
  wanted = "true or false";
  if (!json.is_boolean()) return false;
  out = json.get<bool>();
  return true;
}

bool read_value(const Json& json, std::string& out, std::string& wanted) {
  wanted = "a text in quotes";
  if (!json.is_string()) return false;
  out = json.get<std::string>();
  return true;
}

void read_names(const Json& json, const std::string& path, TextNames& out, Problems& problems) {
  if (!json.is_string() && !json.is_array()) {
    problems.push_back(
        cat(path, ": ", shown(json), " does not fit; give a text in quotes, or a list of them"));
    return;
  }
  if (json.is_string()) {
    out = json.get<std::string>();
    return;
  }
  std::vector<std::string> names(json.size());
  const auto before = problems.size();
  for (std::size_t i = 0; i < json.size(); ++i) {
    const auto here = cat(path, "[", i, "]");
    read_member(json[i], {}, here, names[i], problems);
    if (json[i].is_string() && names[i].empty())
      problems.push_back(here + ": is empty; name a text");
  }
  if (problems.size() == before) out = TextNames(std::move(names));
}

Json names_to_json(const TextNames& names) {
  if (names.all().size() > 1) return names.all();
  return names.empty() ? "" : names.all().front();
}

}  // namespace moe::config_detail
