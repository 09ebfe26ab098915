#pragma once

#include <filesystem>
#include <string>

#include "moe/base/json.h"

namespace moe::tracking {

// What run.json, mlflow.json and a server's answers say: files and words of others, which may hold
// anything.

/// The object in a file; {} where there is none or it does not read.
Json read_object(const std::filesystem::path& file);

/// The text at "a" or "a.b"; "" where there is none.
std::string text_at(const Json& json, const std::string& key);

/// "2026-11-24T00:20:00Z" as seconds since 1970; 0 for a text of another form.
double unix_seconds(const std::string& utc);

}  // namespace moe::tracking
