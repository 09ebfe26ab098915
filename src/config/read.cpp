#include <cmath>

#include "moe/config/visit.h"

namespace moe::config_detail {

std::string bounds_text(const Bounds& bounds) {
  if (bounds.min && bounds.max)
    return cat(bounds.min_open ? "above " : "from ", *bounds.min,
               bounds.max_open ? " to below " : " to ", *bounds.max);
  if (bounds.min) return cat(bounds.min_open ? "more than " : "at least ", *bounds.min);
  return "any value";
}

bool within(double value, const Bounds& bounds) {
  if (!std::isfinite(value)) return false;
  if (bounds.min && (value < *bounds.min || (bounds.min_open && value == *bounds.min)))
    return false;
  return !(bounds.max && (value > *bounds.max || (bounds.max_open && value == *bounds.max)));
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

}  // namespace moe::config_detail
