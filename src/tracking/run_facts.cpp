#include "moe/tracking/run_facts.h"

#include <ctime>

namespace moe::tracking {

Json read_object(const std::filesystem::path& file) {
  try {
    auto json = read_json(file.string(), ErrorKind::resource);
    return json.is_object() ? json : Json::object();
  } catch (const ResourceError&) {
    return Json::object();
  }
}

std::string text_at(const Json& json, const std::string& key) {
  const auto dot = key.find('.');
  const auto found = json.is_object() ? json.find(key.substr(0, dot)) : json.end();
  if (!json.is_object() || found == json.end()) return "";
  if (dot != std::string::npos) return text_at(*found, key.substr(dot + 1));
  return found->is_string() ? found->get<std::string>() : "";
}

double unix_seconds(const std::string& utc) {
  std::tm parts{};
  const auto* end = strptime(utc.c_str(), "%Y-%m-%dT%H:%M:%SZ", &parts);
  return end != nullptr && *end == 0 ? static_cast<double>(timegm(&parts)) : 0;
}

}  // namespace moe::tracking
