#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "moe/cli/app.h"

namespace moe::cli {

/// Writes the report of these folders to `out`, or, where that is "", to its default, whose name is
/// printed.
int run_report(const std::vector<std::string>& folders, const std::string& out,
               const Services& services);

/// The report at the end of a run or a sweep, into its folder: whatever goes wrong is a warning.
void write_report_or_warn(const std::filesystem::path& folder, const Services& services);

}  // namespace moe::cli
