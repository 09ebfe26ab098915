#include <cmath>

#include "moe/config/visit.h"

namespace moe::config_detail {

std::string bounds_text(const Bounds& bounds) {
  if (bounds.min && bounds.max) return cat("from ", *bounds.min, " to ", *bounds.max);
  if (bounds.min) return cat("at least ", *bounds.min);
  return "any value";
}

bool within(double value, const Bounds& bounds) {
  return std::isfinite(value) && !(bounds.min && value < *bounds.min) &&
         !(bounds.max && value > *bounds.max);
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
