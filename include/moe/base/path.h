#pragma once

#include <filesystem>
#include <optional>
#include <string_view>
#include <vector>

#include "moe/base/error.h"

namespace moe {

namespace fs = std::filesystem;

// Questions about paths. "There is nothing" and "it can not be told" (permissions, a loop of links,
// a name that is too long) are two answers: the second throws Error of `kind` with the system's
// reason. So that a folder that can not be read is never taken for an empty one.

/// What `path` leads to, links followed; not_found where there is nothing.
fs::file_type type_of(const fs::path& path, ErrorKind kind);
bool is_there(const fs::path& path, ErrorKind kind);
bool is_folder(const fs::path& path, ErrorKind kind);
bool is_file(const fs::path& path, ErrorKind kind);

/// What lies in a folder, in no order; nothing where there is no folder.
std::vector<fs::path> entries_of(const fs::path& folder, ErrorKind kind);

/// Whether a folder holds anything but entries named `passed_over` and what a volume comes with:
/// lost+found, a desktop's .Trash-1000, Windows' System Volume Information.
bool is_occupied(const fs::path& folder, std::string_view passed_over = {});

/// The absolute form without "." and "..". Throws ResourceError where the current folder is gone.
fs::path absolute_path(const fs::path& path);

/// `path`, or where it is a link, what that leads to in the end, which need not exist. Throws
/// ResourceError for a loop.
fs::path behind_links(const fs::path& path);

/// N where `path` leads to this process's open file N: /dev/stdout, /dev/fd/N, /proc/self/fd/N, or
/// a link to one of them.
std::optional<int> descriptor_behind(const fs::path& path);

}  // namespace moe
