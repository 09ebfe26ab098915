#include "moe/base/lock.h"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <chrono>
#include <cstring>
#include <string>
#include <thread>
#include <tuple>
#include <utility>

#include "base/failure.h"
#include "moe/base/descriptor.h"
#include "moe/base/file.h"
#include "moe/base/system.h"
#include "moe/base/text.h"

namespace moe {

namespace {

std::string note_in(int descriptor) {
  std::array<char, 300> note{};
  const auto count = ::pread(descriptor, note.data(), note.size(), 0);
  return count > 0 ? std::string(note.data(), static_cast<std::size_t>(count)) : std::string();
}

/// What the holder of a lock wrote about itself; "" when it has not come to it.
std::string holder_of(int descriptor) {
  // Between taking the lock and writing the note lie microseconds: two runs started at once meet
  // there.
  constexpr int kTries = 40;
  constexpr std::chrono::milliseconds kPause{5};
  for (int i = 0; i < kTries; ++i) {
    if (const auto note = note_in(descriptor); !note.empty()) return printable(note, note.size());
    std::this_thread::sleep_for(kPause);
  }
  return "";
}

[[noreturn]] void refuse_held(int descriptor, const fs::path& path) {
  const auto holder = holder_of(descriptor);
  const auto folder = path.has_parent_path() ? path.parent_path() : path;
  throw ResourceError(cat(folder.string(), ": in use by ",
                          holder.empty() ? "another process" : holder,
                          "; wait for it, stop it, or name another folder"));
}

/// Whether the file at `path` is the one that is open, in which `note` was written. Not every
/// network file system keeps inode numbers: where they differ, what the file says decides.
bool is_at(const fs::path& path, int descriptor, const std::string& note) {
  struct stat held = {}, found = {};
  if (::fstat(descriptor, &held) != 0) return true;  // it cannot be told
  if (::stat(path.c_str(), &found) != 0) return errno != ENOENT && errno != ENOTDIR;
  if (held.st_dev == found.st_dev && held.st_ino == found.st_ino) return true;
  const Descriptor there(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
  return there.get() >= 0 && note_in(there.get()) == note;
}

}  // namespace

FileLock FileLayer::lock(const fs::path& path, std::chrono::milliseconds patience) {
  constexpr std::chrono::milliseconds kPause{10};
  constexpr std::chrono::milliseconds kLook{30};  // one that only looks (is_held) is gone by then
  constexpr std::chrono::seconds kLongestMixUp{5};
  const auto begin = std::chrono::steady_clock::now();
  while (true) {
    Descriptor file(::open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0666));
    if (file.get() < 0) fail("opening the lock", path, errno);
    const int error = lock_error(file.get());
    const auto waited = std::chrono::steady_clock::now() - begin;
    if (error == EWOULDBLOCK) {
      if (waited >= std::max(patience, kLook)) refuse_held(file.get(), path);
    } else {
      if (error != 0) go_without_lock(path, error);
      FileLock lock(path, file.release());
      // Its holder may have removed the file while we opened it.
      if (lock.is_current() || waited > kLongestMixUp) return lock;
    }
    std::this_thread::sleep_for(kPause);
  }
}

int FileLayer::lock_error(int descriptor) const {
  if (plan_.is_due(0, "locking")) return plan_.error_number;
  return ::flock(descriptor, LOCK_EX | LOCK_NB) == 0 ? 0 : errno;
}

void FileLayer::go_without_lock(const fs::path& path, int error) {
  if (!is_unsupported(error)) fail("locking", path, error);
  warn_once(warned_of_locking_,
            cat(path.string(), ": the file system has no locks (", std::strerror(error),
                "): nothing keeps a second process from this folder, so start only one"));
}

FileLock::FileLock(fs::path path, int descriptor)
    : path_(std::move(path)),
      descriptor_(descriptor),
      note_(cat("pid ", ::getpid(), " on ", host_name(), " since ", utc_now())) {
  // The note is for people: on a full disk the lock holds without it.
  if (::ftruncate(descriptor_, 0) == 0)
    std::ignore = ::pwrite(descriptor_, note_.data(), note_.size(), 0);
}

FileLock::FileLock(FileLock&& other) noexcept
    : path_(std::move(other.path_)),
      descriptor_(std::exchange(other.descriptor_, -1)),
      note_(std::move(other.note_)) {}

FileLock::~FileLock() {
  if (descriptor_ < 0) return;
  std::ignore = ::ftruncate(descriptor_, 0);  // so that the next holder is not taken for this one
  ::close(descriptor_);
}

bool FileLock::is_held(const fs::path& path) {
  const Descriptor file(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
  if (file.get() < 0) return errno != ENOENT && errno != ENOTDIR;
  return ::flock(file.get(), LOCK_SH | LOCK_NB) != 0;  // else its closing lets go of it
}

bool FileLock::is_current() const { return is_at(path_, descriptor_, note_); }

void FileLock::require() const {
  if (is_current()) return;
  throw LockLost(
      cat(path_.string(), ": was removed or replaced while this process (", note_,
          ") held it, so another one may use the folder; nothing more is written, look for "
          "the other one, then continue with --resume"));
}

}  // namespace moe
