#pragma once

#include <filesystem>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "moe/base/json.h"
#include "moe/config/config.h"

namespace moe {

/// Built-in defaults < `extends` < file < overrides ("model.moe.top_k=1"). Relative paths in the
/// file become absolute. Throws ConfigError with every problem found, one a line.
RunConfig load_config(const std::optional<std::filesystem::path>& file,
                      std::span<const std::string> overrides);

/// Throws DataError for the name of a text that config.json can not hold: JSON is UTF-8.
void require_recordable(const std::string& path);

/// Every key in its place, defaults included; what RUN/config.json holds.
Json config_to_json(const RunConfig& config);

/// The reverse; all problems at once in one ConfigError, each beginning with `where`.
RunConfig config_from_json(const Json& json, std::string_view where);

/// Applies "key=value" texts; throws ConfigError.
void apply_overrides(RunConfig& config, std::span<const std::string> overrides);

/// Whether `name` has the form of a device: auto, cpu, cuda, cuda:N.
bool is_device_name(std::string_view name);

/// The rules that tie several keys together (n_head divides n_embed, top_k <= num_experts, ...);
/// empty when the config is sound.
std::vector<std::string> config_problems(const RunConfig& config);

/// JSON Schema (draft 2020-12) of a config file.
Json config_schema();

/// Every key with type, default, bounds and meaning, as aligned text.
std::string describe_config();

/// The keys, with both values, in which `wanted` differs from `saved` although a resumed run may
/// not change them.
std::vector<std::string> resume_differences(const RunConfig& saved, const RunConfig& wanted);

}  // namespace moe
