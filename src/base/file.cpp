#include "moe/base/file.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <csignal>
#include <cstdio>
#include <cstring>
#include <system_error>
#include <tuple>
#include <utility>

#include "base/failure.h"
#include "moe/base/descriptor.h"
#include "moe/base/interrupt.h"
#include "moe/base/text.h"

namespace moe {

namespace {

/// To a device, a pipe or a terminal: waits for who reads it, until a signal asks to stop.
void write_to_reader(int descriptor, std::string_view bytes, const fs::path& path) {
  const int error = write_stream(descriptor, bytes.data(), bytes.size());
  if (error == ECANCELED) throw Interrupted(stop_signal());
  if (error != 0) fail("writing", path, error);
}

void write_all(int descriptor, std::string_view bytes, const fs::path& path) {
  struct stat status = {};
  if (::fstat(descriptor, &status) == 0 && !S_ISREG(status.st_mode))
    return write_to_reader(descriptor, bytes, path);
  while (!bytes.empty()) {
    const auto written = ::write(descriptor, bytes.data(), bytes.size());
    if (written < 0 && errno == EINTR) continue;
    if (written < 0) fail("writing", path, errno);
    bytes.remove_prefix(static_cast<std::size_t>(written));
  }
}

void sync(int descriptor, const fs::path& path) {
  int result = 0;
  do result = ::fsync(descriptor);
  while (result != 0 && errno == EINTR);  // a signal's end of the run is no reason not to save
  if (result != 0 && !is_unsupported(errno)) fail("fsync", path, errno);
}

}  // namespace

bool has_unexpanded_home(const fs::path& path) {
  std::error_code ignored;
  return std::ranges::find(path, fs::path("~")) != path.end() && !fs::exists(path, ignored);
}

int FileLayer::step(std::string_view what) {
  const bool due = plan_.is_due(++operations_, what);
  if (due && plan_.action == FaultPlan::Action::crash) std::raise(SIGKILL);
  return due ? plan_.error_number : 0;
}

void FileLayer::step_or_fail(std::string_view what, const fs::path& path) {
  if (const int error = step(what)) fail(what, path, error);
}

bool FileLayer::step_of_write(std::string_view what, const fs::path& path) {
  const int error = step(what);
  const bool cut_short = error != 0 && plan_.action == FaultPlan::Action::short_write;
  if (error != 0 && !cut_short) fail(what, path, error);
  return cut_short;
}

void FileLayer::warn(const std::string& text) const {
  if (warn_)
    warn_(text);
  else
    std::fprintf(stderr, "warning: %s\n", text.c_str());
}

void FileLayer::warn_once(bool& warned, const std::string& text) {
  if (!warned) warn(text);
  warned = true;
}

void FileLayer::make_folder(const fs::path& folder) {
  step_or_fail("making the folder", folder);
  std::error_code error;
  fs::create_directories(folder, error);
  if (error) fail("making the folder", folder, error.value());
}

bool FileLayer::make_new_folder(const fs::path& folder) {
  step_or_fail("making the folder", folder);
  const auto path = (folder / "").parent_path();  // without a slash at its end
  std::error_code error;
  if (path.has_parent_path()) fs::create_directories(path.parent_path(), error);
  if (error) fail("making the folder", folder, error.value());
  if (::mkdir(path.c_str(), 0777) == 0) return true;
  if (errno != EEXIST) fail("making the folder", folder, errno);
  return false;
}

void FileLayer::write_file(const fs::path& path, Pieces pieces) {
  const bool cut_short = step_of_write("writing", path);
  const Descriptor file(::open(path.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666));
  if (file.get() < 0) fail("creating", path, errno);
  write_pieces(file.get(), path, pieces, cut_short);
}

void FileLayer::write_pieces(int descriptor, const fs::path& path, Pieces pieces, bool cut_short) {
  std::size_t budget = 0;
  for (const auto piece : pieces) budget += piece.size();
  if (cut_short) budget /= 2;
  for (const auto piece : pieces) {
    const auto now = piece.substr(0, budget);
    write_all(descriptor, now, path);
    budget -= now.size();
  }
  sync_written(descriptor, path, cut_short);
}

void FileLayer::write_source(int descriptor, const fs::path& path, const ByteSource& source,
                             bool cut_short) {
  source([&](std::string_view bytes) {
    write_all(descriptor, cut_short ? bytes.substr(0, bytes.size() / 2) : bytes, path);
    if (cut_short) fail("writing", path, ENOSPC);
  });
  sync_written(descriptor, path, cut_short);
}

void FileLayer::write_to(int descriptor, const fs::path& path, std::string_view bytes) {
  write_all(descriptor, bytes, path);
}

void FileLayer::sync_written(int descriptor, const fs::path& path, bool cut_short) {
  if (cut_short) fail("writing", path, ENOSPC);
  if (const int error = step("fsync"); error != 0 && !is_unsupported(error))
    fail("fsync", path, error);
  sync(descriptor, path);
}

void FileLayer::sync_folder(const fs::path& folder) {
  int error = step("fsync");
  const Descriptor file(::open(folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (error == 0 && (file.get() < 0 || ::fsync(file.get()) != 0)) error = errno;
  if (error == 0) return;
  // A folder that may be written but not read cannot be synced either.
  if (!is_unsupported(error) && error != EACCES) fail("fsync", folder, error);
  warn_once(
      warned_of_syncing_,
      cat(folder.string(), ": folders cannot be synced here (", std::strerror(error),
          "): a power failure may lose the newest files, as a crash of the program does not"));
}

void FileLayer::rename(const fs::path& from, const fs::path& to) {
  step_or_fail("renaming", to);
  if (::rename(from.c_str(), to.c_str()) != 0) fail("renaming", to, errno);
}

void FileLayer::remove(const fs::path& path) {
  step_or_fail("removing", path);
  std::error_code error;
  fs::remove_all(path, error);
  if (error) fail("removing", path, error.value());
}

void FileLayer::tidy(const fs::path& path) {
  const auto name = path.filename().string();
  try {
    // Renamed first: a crash in between never leaves half of a folder under its name.
    auto doomed = path;
    if (!name.starts_with(kTemporaryPrefix)) {
      doomed = temporary_next_to(path.parent_path() / ("old-" + name));
      rename(path, doomed);
    }
    remove(doomed);
  } catch (const ResourceError& error) {
    warn_once(warned_of_tidying_, cat(error.what(), " (it stays; a later --resume tries again)"));
  }
}

void FileLayer::append(const fs::path& path, std::string_view text) {
  const bool cut_short = step_of_write("appending", path);
  const Descriptor file(::open(path.c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0666));
  if (file.get() < 0) fail("opening", path, errno);
  struct stat before = {};
  if (::fstat(file.get(), &before) != 0) fail("opening", path, errno);
  try {
    write_all(file.get(), cut_short ? text.substr(0, text.size() / 2) : text, path);
    if (cut_short) fail("appending", path, ENOSPC);
  } catch (const Error&) {
    // Best effort: the first failure is what the caller hears of.
    if (S_ISREG(before.st_mode)) std::ignore = ::ftruncate(file.get(), before.st_size);
    throw;
  }
}

void FileLayer::truncate(const fs::path& path, std::uint64_t size) {
  step_or_fail("truncating", path);
  const Descriptor file(::open(path.c_str(), O_WRONLY | O_CLOEXEC));
  if (file.get() < 0) fail("opening", path, errno);
  if (::ftruncate(file.get(), static_cast<off_t>(size)) != 0) fail("truncating", path, errno);
  sync(file.get(), path);
}

}  // namespace moe
