#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "moe/store/checkpoints.h"

namespace moe {

/// All of `text` as a whole number of at least 0.
std::optional<std::int64_t> whole_number(std::string_view text);

/// The step that a checkpoint folder is named after.
std::optional<std::int64_t> step_of(const std::filesystem::path& folder);

/// What may be named instead of a checkpoint that is not there, for a message.
std::string steps_text(const std::vector<CheckpointRef>& checkpoints);

}  // namespace moe
