#pragma once

#include <chrono>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <span>
#include <string>
#include <string_view>

#include "moe/base/error.h"
#include "moe/base/fault_plan.h"
#include "moe/base/lock.h"
#include "moe/base/path.h"

namespace moe {

/// The whole file. Throws Error of `kind` when it is missing, a folder, unreadable, or larger than
/// `max_bytes` (nothing is read then); Interrupted where a fifo or a terminal is awaited and a
/// signal asks to stop.
std::string read_file(const fs::path& path, ErrorKind kind,
                      std::uint64_t max_bytes = std::uint64_t{8} << 30);

/// Whether `path` names nothing and has a "~" in it that a shell would have made the home folder.
bool has_unexpanded_home(const fs::path& path);

/// The same of an open file, to its end; messages call it `name`.
std::string read_descriptor(int descriptor, const std::string& name, ErrorKind kind,
                            std::uint64_t max_bytes);

/// Files and folders whose names begin with this are being written, or left over from a write that
/// was interrupted.
inline constexpr std::string_view kTemporaryPrefix = ".tmp-";

/// A name next to `path` that nobody else uses: kTemporaryPrefix, the name of `path`, and a random
/// number. For a folder to be filled and renamed; files have FileLayer::replace.
fs::path temporary_next_to(const fs::path& path);

/// Bytes to be written one after another.
using Pieces = std::span<const std::string_view>;
/// Takes bytes one after another.
using ByteSink = std::function<void(std::string_view)>;
/// Hands over the bytes of a file, piece by piece: all of them each time that it is called.
using ByteSource = std::function<void(const ByteSink&)>;

/// Every change to the disk goes through one of these: it counts them, and tests make them fail.
/// All functions throw ResourceError with the path, the system's reason and a remedy, except where
/// they say that they only warn. New files follow the umask. Each thread has one of its own.
class FileLayer {
 public:
  using Warn = std::function<void(const std::string&)>;

  /// `warn` gets each warning; without one it goes to standard error.
  explicit FileLayer(FaultPlan plan = {}, Warn warn = {})
      : plan_(std::move(plan)), warn_(std::move(warn)) {}

  /// Makes the folder and its parents; one that exists is fine.
  void make_folder(const fs::path& folder);
  /// The same, but the folder itself must be new: of several processes that want one name, exactly
  /// one is told true. False when anything has that name already.
  bool make_new_folder(const fs::path& folder);
  /// Creates or truncates `path`, writes the pieces one after another, and fsyncs it.
  void write_file(const fs::path& path, Pieces pieces);
  /// On file systems that can not do this (SMB, some of FUSE) it warns once.
  void sync_folder(const fs::path& folder);
  void rename(const fs::path& from, const fs::path& to);
  /// Removes the file or the folder with all in it; one that is absent is fine.
  void remove(const fs::path& path);
  /// Appends `text` to the file, creating it, in one write (no fsync: a torn last line is cut on
  /// resume). On failure the file is cut back to what it was, so that later lines stay whole.
  void append(const fs::path& path, std::string_view text);
  /// Cuts the file to `size` bytes and fsyncs it.
  void truncate(const fs::path& path, std::uint64_t size);

  /// A file of ours appears whole or not at all: a temporary next to it, fsync, rename, fsync of
  /// the folder. On failure up to the rename the temporary is removed and the old file stands; when
  /// only the folder's fsync fails, the new one is already there. Any number of processes may
  /// replace one file at once: one of them is the last. A link is followed, and stays; a file's
  /// mode and, where allowed, its owner stay too. What is no regular file is refused.
  void replace(const fs::path& path, Pieces pieces);
  void replace(const fs::path& path, std::string_view text) { replace(path, Pieces(&text, 1)); }
  /// The same of a file that is made while it is written. What `source` throws leaves the old file.
  void replace(const fs::path& path, const ByteSource& source);
  /// A file that the user named for a result: as replace, but a device, a pipe or an open file
  /// (/dev/fd/3) is written to as it is, and so is, with a warning, a file that can not be renamed
  /// over (a bind mount, a folder without permission). Left-overs of earlier writes go. Throws
  /// Interrupted if a signal asks to stop while a pipe waits for its reader.
  void write_output(const fs::path& path, Pieces pieces);
  void write_output(const fs::path& path, std::string_view text) {
    write_output(path, Pieces(&text, 1));
  }
  void write_output(const fs::path& path, const ByteSource& source);

  /// Takes away what is of no use any more: a temporary, or anything else by giving it a
  /// temporary's name first. What can not be removed is warned of once and stays for a later sweep:
  /// tidying is never worth a run.
  void tidy(const fs::path& path);
  /// Tidies the folder's left-over temporaries (of one file, where `of` names it), but none that a
  /// living process writes.
  void sweep_temporaries(const fs::path& folder, std::string_view of = {});

  /// Takes the lock on the file, which is made where it is missing. While another process (or
  /// another FileLock of this one) has it, tries again for `patience`, then throws ResourceError
  /// naming the holder's pid, host and start time; so 0 refuses at once, and e.g. 60 s waits for
  /// somebody who holds it briefly. A waiter gets a lock on the file that is there in the end,
  /// also where the holder removed it. On file systems without locks it warns once and locks
  /// nothing.
  FileLock lock(const fs::path& path, std::chrono::milliseconds patience = {});

  std::int64_t operations() const { return operations_; }

 private:
  friend class Temporary;  // asks for lock_error
  friend class FileWriter;
  /// Counts; crashes as planned. Returns the error to fail with, 0 for none.
  int step(std::string_view what);
  /// step, or else an error.
  void step_or_fail(std::string_view what, const fs::path& path);
  /// step of a write. Whether to cut its bytes short.
  bool step_of_write(std::string_view what, const fs::path& path);
  void write_pieces(int descriptor, const fs::path& path, Pieces pieces, bool cut_short);
  void write_source(int descriptor, const fs::path& path, const ByteSource& source, bool cut_short);
  /// Writes all bytes of a file to a descriptor, cut short where that is planned.
  using Write = std::function<void(int descriptor, bool cut_short)>;
  void replace_by(const fs::path& path, const Write& write);
  void write_output_by(const fs::path& path, const Write& write);
  void write_in_place(const fs::path& path, const Write& write);
  void sync_written(int descriptor, const fs::path& path, bool cut_short);
  /// What `path` leads to, to be replaced; refused where that is no file.
  static fs::path target_of(const fs::path& path);
  static void write_to(int descriptor, const fs::path& path, std::string_view bytes);
  void sweep_one(const fs::path& temporary);
  /// flock without waiting: 0, EWOULDBLOCK, or why there are no locks.
  int lock_error(int descriptor) const;
  /// Warns where there are no locks; any other error is one.
  void go_without_lock(const fs::path& path, int error);
  void warn_once(bool& warned, const std::string& text);
  void warn(const std::string& text) const;

  FaultPlan plan_;
  Warn warn_;
  std::int64_t operations_ = 0;
  bool warned_of_tidying_ = false, warned_of_syncing_ = false, warned_of_locking_ = false;
};

}  // namespace moe
