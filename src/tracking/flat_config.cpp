#include "tracking/flat_config.h"

#include <ctime>

#include "moe/config/load.h"

namespace moe::tracking {

namespace {

void flatten(const Json& tree, const std::string& prefix, FlatConfig& out) {
  for (const auto& [key, value] : tree.items()) {
    if (value.is_object())
      flatten(value, prefix + key + ".", out);
    else
      out.emplace_back(prefix + key, value);
  }
}

}  // namespace

FlatConfig flat_config(const RunConfig& config) {
  auto tree = config_to_json(config);
  tree.erase("tracking");
  FlatConfig out;
  flatten(tree, "", out);
  return out;
}

double unix_seconds(const std::string& utc) {
  std::tm parts{};
  const auto* end = strptime(utc.c_str(), "%Y-%m-%dT%H:%M:%SZ", &parts);
  return end != nullptr && *end == 0 ? static_cast<double>(timegm(&parts)) : 0;
}

}  // namespace moe::tracking
