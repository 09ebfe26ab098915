#include "base/temporary.h"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <charconv>
#include <chrono>
#include <random>
#include <string>
#include <system_error>
#include <tuple>

#include "base/failure.h"
#include "moe/base/text.h"

namespace moe {

namespace {

constexpr std::size_t kDigits = 8;

std::string random_digits() {
  std::array<char, kDigits> digits{};
  const auto [end, error] =
      std::to_chars(digits.data(), digits.data() + digits.size(), std::random_device{}(), 16);
  const std::string text(digits.data(), end);
  return std::string(kDigits - text.size(), '0') + text;
}

/// The mode and, where allowed, the owner of the file that is going to be replaced.
void inherit(int descriptor, const struct stat& from) {
  // One at a time: who may not give a file away may still choose among his groups.
  std::ignore = ::fchown(descriptor, from.st_uid, static_cast<gid_t>(-1));
  std::ignore = ::fchown(descriptor, static_cast<uid_t>(-1), from.st_gid);
  std::ignore = ::fchmod(descriptor, from.st_mode & 0777U);
}

bool is_old(const fs::path& path) {
  constexpr std::chrono::hours kOld{24};
  std::error_code error;
  const auto written = fs::last_write_time(path, error);
  return !error && fs::file_time_type::clock::now() - written > kOld;
}

}  // namespace

fs::path temporary_next_to(const fs::path& path) {
  constexpr std::size_t kLongestName = 255;  // [bytes] of nearly every file system
  auto name = path.filename().string() + "-";
  if (kTemporaryPrefix.size() + name.size() + kDigits > kLongestName) name.clear();
  return path.parent_path() / cat(kTemporaryPrefix, name, random_digits());
}

Temporary::Temporary(const fs::path& target, const FileLayer& files) {
  while (!try_create(target, files)) continue;
}

bool Temporary::try_create(const fs::path& target, const FileLayer& files) {
  struct stat old = {};
  const bool replaces = ::stat(target.c_str(), &old) == 0;
  path_ = temporary_next_to(target);
  file_.emplace(
      ::open(path_.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, replaces ? 0600 : 0666));
  if (descriptor() < 0) {
    const int error = errno;
    path_.clear();
    if (error == EEXIST) return false;
    fail("creating", target, error);
  }
  // A sweep may have met the file before the lock was there, and have it now, or have removed it.
  if (files.lock_error(descriptor()) == EWOULDBLOCK || ::access(path_.c_str(), F_OK) != 0)
    return false;
  if (replaces) inherit(descriptor(), old);
  return true;
}

Temporary::~Temporary() {
  if (!path_.empty()) ::unlink(path_.c_str());
}

void FileLayer::sweep_one(const fs::path& temporary) {
  struct stat status = {};
  if (::lstat(temporary.c_str(), &status) != 0) return;
  // Folders belong to who has the lock of the run.
  if (!S_ISREG(status.st_mode)) return tidy(temporary);
  const Descriptor file(::open(temporary.c_str(), O_RDWR | O_NOFOLLOW | O_CLOEXEC));
  const int error = file.get() < 0 ? errno : lock_error(file.get());
  if (error == EWOULDBLOCK || (error != 0 && !is_old(temporary))) return;
  // While we have its lock: a writer that has just made it takes another name then.
  tidy(temporary);
}

void FileLayer::sweep_temporaries(const fs::path& folder, std::string_view of) {
  const auto start = of.empty() ? std::string(kTemporaryPrefix) : cat(kTemporaryPrefix, of, "-");
  const auto is_temporary = [&](const fs::path& entry) {
    const auto name = entry.filename().string();
    return name.starts_with(start) && (of.empty() || name.size() == start.size() + kDigits);
  };
  try {
    for (const auto& entry : entries_of(folder, ErrorKind::resource))
      if (is_temporary(entry)) sweep_one(entry);
  } catch (const ResourceError& error) {
    warn_once(warned_of_tidying_, error.what());
  }
}

}  // namespace moe
