#pragma once

#include <cstdint>
#include <filesystem>
#include <span>
#include <string>
#include <string_view>

#include "moe/base/error.h"

namespace moe {

namespace fs = std::filesystem;

/// The whole file. Throws Error of `kind` when it is missing, a folder, unreadable, or larger than
/// `max_bytes` (nothing is read then); Interrupted where a fifo or a terminal is awaited and a
/// signal asks to stop.
std::string read_file(const fs::path& path, ErrorKind kind,
                      std::uint64_t max_bytes = std::uint64_t{8} << 30);

/// The same of an open file, to its end; messages call it `name`.
std::string read_descriptor(int descriptor, const std::string& name, ErrorKind kind,
                            std::uint64_t max_bytes);

/// A fault to provoke, for tests: at the `operation`-th change to the disk (from 1), either the
/// process dies as by kill -9, or the operation fails with `error_number` (each later one too when
/// `sticky`). Parsed from MAKEMOE_TEST_FAULT by the command line: "crash@7", "ENOSPC@3", "EIO@3+"
/// ("+" is sticky), "short@3" (half of the bytes of a write or append are written, then
/// ENOSPC; other operations fail with it).
struct FaultPlan {
  enum class Action { none, crash, fail, short_write } action = Action::none;
  std::int64_t operation = 0;
  int error_number = 0;
  bool sticky = false;

  /// Throws ConfigError for a text of another form.
  static FaultPlan parse(std::string_view text);
};

/// Every change to the disk goes through one of these: it counts them, and tests make them fail.
/// All functions throw ResourceError with the path, the system's reason and a remedy.
class FileLayer {
 public:
  explicit FileLayer(FaultPlan plan = {}) : plan_(plan) {}

  /// Makes the folder and its parents; one that exists is fine.
  void make_folder(const fs::path& folder);
  /// Creates or truncates `path`, writes the pieces one after another, and fsyncs it.
  void write_file(const fs::path& path, std::span<const std::string_view> pieces);
  void sync_folder(const fs::path& folder);
  void rename(const fs::path& from, const fs::path& to);
  /// Removes the file or the folder with all in it; one that is absent is fine.
  void remove(const fs::path& path);
  /// Appends `text` to the file, creating it, in one write (no fsync: a torn last line is cut on
  /// resume). On failure the file is cut back to what it was, so that later lines stay whole.
  void append(const fs::path& path, std::string_view text);
  /// Cuts the file to `size` bytes and fsyncs it.
  void truncate(const fs::path& path, std::uint64_t size);
  /// The file appears whole or not at all: temporary beside it (".tmp-" + name), fsync, rename,
  /// fsync of the folder. On failure up to the rename the temporary is removed and the old file
  /// stands; when only the folder's fsync fails, the new one is already there.
  void replace(const fs::path& path, std::span<const std::string_view> pieces);
  void replace(const fs::path& path, std::string_view text) { replace(path, std::span(&text, 1)); }

  std::int64_t operations() const { return operations_; }

 private:
  /// Counts; crashes or fails as planned. Returns whether to cut the bytes to be written short.
  bool step(const char* what, const fs::path& path, bool writes_bytes = false);

  FaultPlan plan_;
  std::int64_t operations_ = 0;
};

/// Folders and files whose names begin with this are left-overs of an interrupted save.
inline constexpr std::string_view kTemporaryPrefix = ".tmp-";

/// An exclusive lock on `path` that dies with its process (flock). The file holds who has it.
class FileLock {
 public:
  /// Takes the lock or throws ResourceError naming the holder's pid, host and start time.
  explicit FileLock(const fs::path& path);
  ~FileLock();
  FileLock(FileLock&& other) noexcept;
  /// Whether a process holds it, or that can not be told. The lock is left as it is.
  static bool is_held(const fs::path& path);
  FileLock& operator=(FileLock&&) = delete;
  FileLock(const FileLock&) = delete;
  FileLock& operator=(const FileLock&) = delete;

 private:
  int descriptor_ = -1;
};

}  // namespace moe
