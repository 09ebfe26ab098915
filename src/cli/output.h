#pragma once

#include <string>
#include <string_view>

#include "moe/base/file.h"
#include "moe/base/json.h"

namespace moe::cli {

/// Standard output was closed by its reader (`| head`): the command ends quietly.
struct OutputClosed {};

/// Writes results to standard output. Throws OutputClosed, and Interrupted where a signal asks to
/// stop and nobody reads. Control characters do not reach a terminal: they are shown as \x1b, in
/// JSON as \u001b.
void print(std::string_view text);
void print_json(const Json& json);

/// Whether `out`, the name that a user gave for a result, is standard output: "-", /dev/stdout, or
/// a link to it.
bool is_standard_output(const std::string& out);
/// Writes a result there, or into the file of that name (FileLayer::write_output).
void write_result(const std::string& out, Pieces pieces, FileLayer& files);
void write_result(const std::string& out, const ByteSource& source, FileLayer& files);

}  // namespace moe::cli
