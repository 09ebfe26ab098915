#pragma once

#include <filesystem>
#include <string>

#include "moe/base/error.h"

namespace moe {

/// The file of a lock was removed or replaced while it was held: somebody else may hold it too.
class LockLost : public ResourceError {
 public:
  using ResourceError::ResourceError;
};

/// An exclusive lock on a file that dies with its process (flock), taken by FileLayer::lock. The
/// file says who has it.
class FileLock {
 public:
  ~FileLock();
  FileLock(FileLock&& other) noexcept;
  FileLock& operator=(FileLock&&) = delete;
  FileLock(const FileLock&) = delete;
  FileLock& operator=(const FileLock&) = delete;

  /// Whether a process holds the lock on this file, or that can not be told. It is left as it is.
  static bool is_held(const std::filesystem::path& path);

  /// Whether the file at the path is still the one that was locked.
  bool is_current() const;
  /// Throws LockLost where it is not: then nothing may be written under this lock any more.
  void require() const;

 private:
  friend class FileLayer;
  FileLock(std::filesystem::path path, int descriptor);

  std::filesystem::path path_;
  int descriptor_ = -1;
  std::string note_;  // what the file says
};

}  // namespace moe
