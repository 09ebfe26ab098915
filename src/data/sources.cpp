#include "moe/data/sources.h"

#include <fnmatch.h>
#include <sys/stat.h>

#include <algorithm>
#include <map>
#include <utility>

#include "moe/base/path.h"
#include "moe/base/sha256.h"
#include "moe/base/text.h"

namespace moe {

namespace {

constexpr std::size_t kLongestShown = 300;  // [bytes] of a path in a message
using FileId = std::pair<std::uint64_t, std::uint64_t>;

std::string shown_path(const fs::path& path) {
  return path.empty() ? "\"\"" : printable(path.string(), kLongestShown);
}

FileId id_of_file(const fs::path& path) {
  const auto stamp = stamp_of(path);
  return {stamp.device, stamp.inode};
}

bool is_hidden(const fs::path& path) { return path.filename().native().starts_with('.'); }

bool is_pattern(const fs::path& part) {
  return part.native().find_first_of("*?[") != std::string::npos;
}

/// The parts of a path; ** twice in a row is no other pattern than once.
std::vector<fs::path> parts_of(const fs::path& path) {
  std::vector<fs::path> parts;
  for (const auto& part : path.relative_path())
    if (!part.empty() && !(part == "**" && !parts.empty() && parts.back() == "**"))
      parts.push_back(part);
  return parts;
}

/// Finds files from a name on, in no order; one may be found by two ways through "**".
class SourceSearch {
 public:
  std::vector<fs::path> found;

  void add_any(const fs::path& path) {
    const auto type = type_of(path, ErrorKind::data);
    if (type != fs::file_type::directory) return add_file(path, type);
    enter(path, /*hidden=*/false, [&](const fs::path& entry) {
      if (leads_to_folder(entry))
        add_any(entry);
      else if (entry.extension() == ".txt")
        add_file(entry, type_of(entry, ErrorKind::data));
    });
  }

  /// What fits `parts` from `at` on below `folder`.
  void add_matches(const fs::path& folder, const std::vector<fs::path>& parts, std::size_t at) {
    if (at == parts.size()) return add_any(folder);
    const auto& part = parts[at];
    const auto as_written = folder / part;
    if (is_there(as_written, ErrorKind::data)) return add_matches(as_written, parts, at + 1);
    if (!is_pattern(part) || !is_folder(folder, ErrorKind::data)) return;
    const bool at_any_depth = part == "**";
    if (at_any_depth) add_matches(folder, parts, at + 1);
    enter(folder, is_hidden(part), [&](const fs::path& entry) {
      if (at_any_depth ? leads_to_folder(entry)
                       : ::fnmatch(part.c_str(), entry.filename().c_str(), FNM_PERIOD) == 0)
        add_matches(entry, parts, at_any_depth ? at : at + 1);
    });
  }

 private:
  /// What cannot be looked at is none; whether it matters is told where it is wanted as a text.
  static bool leads_to_folder(const fs::path& path) {
    std::error_code ignored;
    return fs::is_directory(path, ignored);
  }
  /// Calls visit(entry) for what lies in a folder.
  template <class Visit>
  void enter(const fs::path& folder, bool hidden, const Visit& visit) {
    const auto id = id_of_file(folder);
    if (std::ranges::find(inside_, id) != inside_.end())
      throw DataError(
          cat(shown_path(folder),
              ": leads back by a link to a folder that it lies in; take the link away"));
    inside_.push_back(id);
    for (const auto& entry : entries_of(folder, ErrorKind::data))
      if (hidden || !is_hidden(entry)) visit(entry);
    inside_.pop_back();
  }

  void add_file(const fs::path& path, fs::file_type type) {
    const auto refuse = [&](std::string_view what) {
      throw DataError(cat(shown_path(path), ": ", what));
    };
    if (type == fs::file_type::not_found) refuse("is a link to nothing; mend it, or take it away");
    if (type != fs::file_type::regular) refuse("is no regular file; take it away");
    if (found.size() == kMostSources)
      refuse(cat("is one text too many; give at most ", kMostSources,
                 " files, e.g. by joining them with <|endoftext|> between them"));
    found.push_back(path);
  }

  std::vector<FileId> inside_;  // the folders on the way
};

/// The files that one name leads to; nothing where it leads to nothing.
std::vector<fs::path> files_of(const fs::path& name) {
  if (!name.empty() && is_there(name, ErrorKind::data) && !is_folder(name, ErrorKind::data))
    return {name};
  SourceSearch search;
  if (!name.empty() && is_there(name, ErrorKind::data))
    search.add_any(name);
  else if (is_pattern(name))
    search.add_matches(name.has_root_path() ? name.root_path() : fs::path(), parts_of(name), 0);
  auto& found = search.found;
  std::ranges::sort(
      found, {}, [](const fs::path& path) -> auto& { return path.native(); });
  found.erase(std::unique(found.begin(), found.end()), found.end());
  return std::move(found);
}

[[noreturn]] void refuse_name(const std::string& name, std::string_view remedy) {
  const auto what =
      !name.empty() && is_there(name, ErrorKind::data)
          ? std::string(
                "has no file *.txt in it or below it; name the files, or write a "
                "pattern such as \"FOLDER/**/*.md\"")
          : cat(is_pattern(name) ? "no file fits this pattern; " : "is not there; ", remedy);
  throw DataError(cat(shown_path(name), ": ", what));
}

}  // namespace

std::vector<fs::path> find_sources(std::span<const std::string> names, std::string_view remedy) {
  std::vector<fs::path> out;
  std::map<FileId, fs::path> seen;
  for (const auto& name : names) {
    auto files = files_of(name);
    if (files.empty()) refuse_name(name, remedy);
    for (auto& file : files) {
      const auto [before, is_new] = seen.emplace(id_of_file(file), file);
      if (!is_new)
        throw DataError(cat(shown_path(file), ": is the same file as ", shown_path(before->second),
                            ", and would be learned twice; name it once"));
      out.push_back(std::move(file));
    }
  }
  return out;
}

std::string joined_sums(std::span<const std::string> sums) {
  if (sums.size() == 1) return sums.front();
  Sha256 joined;
  for (const auto& sum : sums) joined.update(sum).update("\n");
  return joined.hex();
}

FileStamp stamp_of(const fs::path& path) {
  struct stat status = {};
  if (::stat(path.c_str(), &status) != 0) return {};
  constexpr std::int64_t kSecond = 1'000'000'000;
  return {status.st_dev, status.st_ino, status.st_size,
          status.st_mtim.tv_sec * kSecond + status.st_mtim.tv_nsec,
          status.st_ctim.tv_sec * kSecond + status.st_ctim.tv_nsec};
}

}  // namespace moe
