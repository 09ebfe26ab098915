#pragma once

#include <string_view>

#include "moe/base/json.h"

namespace moe::cli {

/// Standard output was closed by its reader (`| head`): the command ends quietly.
struct OutputClosed {};

/// Writes results to standard output. Throws OutputClosed, and Interrupted where a signal asks to
/// stop and nobody reads. Control characters do not reach a terminal: they are shown as \x1b, in
/// JSON as \u001b.
void print(std::string_view text);
void print_json(const Json& json);

}  // namespace moe::cli
