#include "exchange/config_fields.h"

#include <algorithm>

#include "moe/base/text.h"

namespace moe {

bool ConfigFields::is_there(const char* key) {
  read_.insert(key);
  return object_.contains(key);
}

void ConfigFields::refuse(const char* key, std::string_view wanted) {
  add_problem(cat("\"", key, "\" is ",
                  object_.contains(key) ? shown(object_.at(key)) : std::string("missing"), ", ",
                  wanted));
}

const Json& ConfigFields::value(const char* key) {
  static const Json none;
  return is_there(key) ? object_.at(key) : none;
}

std::int64_t ConfigFields::count(const char* key, std::int64_t least,
                                 std::optional<std::int64_t> standard) {
  constexpr std::int64_t kMost = std::int64_t{1} << 31;  // beyond every bound of ours
  if (!is_there(key) && standard) return *standard;
  const auto& found = value(key);
  if (found.is_number_integer() && found >= Json(least) && found <= Json(kMost))
    return found.get<std::int64_t>();
  refuse(key, cat("a whole number from ", least, " on is wanted"));
  return 0;
}

double ConfigFields::number(const char* key, std::optional<double> standard) {
  if (!is_there(key) && standard) return *standard;
  const auto& found = value(key);
  if (found.is_number()) return found.get<double>();
  refuse(key, "a number is wanted");
  return 0;
}

bool ConfigFields::flag(const char* key, std::optional<bool> standard) {
  if (!is_there(key) && standard) return *standard;
  const auto& found = value(key);
  if (found.is_boolean()) return found.get<bool>();
  refuse(key, "true or false is wanted");
  return false;
}

std::vector<std::int64_t> ConfigFields::layers(const char* key) {
  static constexpr std::int64_t kMostLayers = 512;
  std::vector<std::int64_t> out;
  const auto& found = value(key);
  if (found.is_null()) return out;
  const bool is_list =
      found.is_array() && std::ranges::all_of(found, [](const Json& layer) {
        return layer.is_number_integer() && layer >= Json(0) && layer < Json(kMostLayers);
      });
  if (is_list)
    found.get_to(out);
  else
    refuse(key, "a list of layers is wanted");
  std::ranges::sort(out);
  if (std::ranges::adjacent_find(out) != out.end()) refuse(key, "each layer once is wanted");
  return out;
}

void ConfigFields::require(const char* key, const Json& wanted) {
  const auto& found = value(key);
  if (!found.is_null() && found != wanted)
    refuse(key, cat("of which we have ", wanted.dump(), " alone"));
}

std::vector<std::string> ConfigFields::unread() const {
  std::vector<std::string> out;
  for (const auto& [key, ignored] : object_.items())
    if (!read_.contains(key)) out.push_back(printable(key, 60));
  return out;
}

}  // namespace moe
