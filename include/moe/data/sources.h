#pragma once

#include <cstdint>
#include <filesystem>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace moe {

/// The files of a corpus, in the order in which they are read.
///
/// Each name is a file, a folder or a pattern; the names keep their order, and what one of them
/// finds is sorted by the bytes of its path, as `LC_ALL=C sort` does.
/// - A folder stands for all files *.txt in it and in the folders below it.
/// - A pattern has *, ? or [...] in a part of its path, or ** for any folders on the way. A part
///   that exists as it is written is no pattern. A folder that is found stands for its texts.
/// - What is hidden (its name begins with ".") is found by what begins with "." alone. Links are
///   followed.
/// Throws DataError for a name that leads to nothing (ending in `remedy`, what to do then), a file
/// that two names lead to, a loop of links, something found that is no regular file, and more than
/// kMostSources files. A name that leads to something else than a folder is taken as it is: reading
/// it says what is wrong.
std::vector<std::filesystem::path> find_sources(std::span<const std::string> names,
                                                std::string_view remedy = "check the path");

inline constexpr std::size_t kMostSources = 200'000;

/// One sum for several files: of each sha256 with a line end behind it, so that it is what
/// `sha256sum FILES | cut -c1-64 | sha256sum` prints. The sum of one file is its own.
std::string joined_sums(std::span<const std::string> sums);

/// What changes when a file does. Two equal ones are of one file with the same bytes, unless it was
/// written twice within a tick of the clock.
struct FileStamp {
  std::uint64_t device = 0, inode = 0;
  std::int64_t size = 0, modified_ns = 0, changed_ns = 0;
  bool operator==(const FileStamp&) const = default;
};

/// All zeros for what cannot be looked at.
FileStamp stamp_of(const std::filesystem::path& path);

}  // namespace moe
