#include "moe/tracking/flat_config.h"

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

FlatConfig flat_config(const RunConfig& config) { return flat_config(config_to_json(config)); }

FlatConfig flat_config(Json tree) {
  if (!tree.is_object()) return {};
  tree.erase("tracking");
  FlatConfig out;
  flatten(tree, "", out);
  return out;
}

std::string plain_text(const Json& value) {
  return value.is_string() ? value.get<std::string>() : json_text(value);
}

}  // namespace moe::tracking
