#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "moe/base/file.h"

namespace moe::report {

/// The page of these run folders and sweep folders: HTML complete in itself (ADR 0015), the same
/// bytes for the same files. What a folder lacks, or what in it is damaged, is said on the page.
/// Throws ResourceError for a folder that is neither a run's nor a sweep's, ConfigError or
/// ResourceError for a sweep whose definition or journal does not read.
std::string page_of(const std::vector<std::filesystem::path>& folders);

/// Where `makemoe report` writes without --out: into the folder itself where it is one, else here.
std::filesystem::path default_file(const std::vector<std::filesystem::path>& folders);

/// Writes the page to `file` (FileLayer::write_output). Throws as page_of, and ResourceError.
void write_report(const std::vector<std::filesystem::path>& folders,
                  const std::filesystem::path& file, FileLayer& files);

}  // namespace moe::report
