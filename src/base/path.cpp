#include "moe/base/path.h"

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <string>
#include <system_error>

#include "base/failure.h"
#include "moe/base/text.h"

namespace moe {

namespace {

/// Reasons for which there is nothing at a path.
bool means_absent(const std::error_code& error) {
  return error == std::errc::no_such_file_or_directory || error == std::errc::not_a_directory;
}

[[noreturn]] void refuse_look(const fs::path& path, ErrorKind kind, const std::error_code& error) {
  throw_error(kind, cat(printable(path.string(), 300, Quotes::kept), ": cannot be looked at: ",
                        error.message(), "; check the path and the permissions"));
}

/// What file systems and desktops put into the root of a volume.
bool is_of_the_volume(const std::string& name) {
  constexpr std::string_view kTrash = ".Trash-";
  const auto is_digit = [](char c) { return c >= '0' && c <= '9'; };
  const bool is_trash = name.starts_with(kTrash) && name.size() > kTrash.size() &&
                        std::all_of(name.begin() + kTrash.size(), name.end(), is_digit);
  return name == "lost+found" || name == "System Volume Information" || is_trash;
}

std::optional<int> descriptor_number(const fs::path& path) {
  std::error_code error;
  const auto home = fs::canonical("/proc/self/fd", error);
  if (error || fs::canonical(path.parent_path(), error) != home || error) return std::nullopt;
  const auto name = path.filename().string();
  const bool is_number =
      !name.empty() && name.size() < 7 &&
      std::all_of(name.begin(), name.end(), [](char c) { return c >= '0' && c <= '9'; });
  return is_number ? std::optional(std::stoi(name)) : std::nullopt;
}

/// Each path on the way through links, from `path` itself to the last, until `is_found` likes one.
template <class IsFound>
fs::path follow(fs::path path, const IsFound& is_found) {
  constexpr int kMostLinks = 40;  // the kernel's own limit
  const auto first = path;
  for (int i = 0; i <= kMostLinks; ++i) {
    std::error_code error;
    if (is_found(path)) return path;
    const auto next = fs::read_symlink(path, error);
    if (error) return path;            // no link: a file, or nothing
    path = path.parent_path() / next;  // which is `next` where that is absolute
  }
  fail("following the link", first, ELOOP);
}

}  // namespace

fs::file_type type_of(const fs::path& path, ErrorKind kind) {
  std::error_code error;
  const auto type = fs::status(path, error).type();
  if (type == fs::file_type::not_found || means_absent(error)) return fs::file_type::not_found;
  if (error) refuse_look(path, kind, error);
  return type;
}

bool is_there(const fs::path& path, ErrorKind kind) {
  return type_of(path, kind) != fs::file_type::not_found;
}

bool is_folder(const fs::path& path, ErrorKind kind) {
  return type_of(path, kind) == fs::file_type::directory;
}

bool is_file(const fs::path& path, ErrorKind kind) {
  return type_of(path, kind) == fs::file_type::regular;
}

std::vector<fs::path> entries_of(const fs::path& folder, ErrorKind kind) {
  std::vector<fs::path> out;
  std::error_code error;
  for (fs::directory_iterator at(folder, error), end; !error && at != end; at.increment(error))
    out.push_back(at->path());
  if (error && !means_absent(error)) refuse_look(folder, kind, error);
  return out;
}

bool is_occupied(const fs::path& folder, std::string_view passed_over) {
  return std::ranges::any_of(entries_of(folder, ErrorKind::resource), [&](const fs::path& entry) {
    const auto name = entry.filename().string();
    return name != passed_over && !is_of_the_volume(name);
  });
}

fs::path absolute_path(const fs::path& path) {
  std::error_code error;
  const auto out = fs::absolute(path, error);
  if (error)
    throw ResourceError(cat("the current folder: cannot be told: ", error.message(),
                            "; go to a folder that exists, or name ", printable(path.string(), 300),
                            " by its whole path"));
  return out.lexically_normal();
}

fs::path behind_links(const fs::path& path) {
  return follow(path, [](const fs::path&) { return false; });
}

std::optional<int> descriptor_behind(const fs::path& path) {
  return descriptor_number(
      follow(path, [](const fs::path& at) { return descriptor_number(at).has_value(); }));
}

}  // namespace moe
