#pragma once

#include <string_view>

#include "moe/base/json.h"

namespace moe::cli {

/// Standard output was closed by its reader (`| head`): the command ends quietly.
struct OutputClosed {};

/// Writes results to standard output and flushes. Throws OutputClosed.
void print(std::string_view text);
void print_json(const Json& json);

}  // namespace moe::cli
