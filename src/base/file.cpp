#include "moe/base/file.h"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <charconv>
#include <chrono>
#include <csignal>
#include <cstring>
#include <system_error>
#include <thread>
#include <tuple>
#include <utility>
#include <vector>

#include "moe/base/descriptor.h"
#include "moe/base/interrupt.h"
#include "moe/base/system.h"
#include "moe/base/text.h"

namespace moe {

namespace {

std::string remedy_for(int error_number) {
  switch (error_number) {
    case ENOSPC:
    case EDQUOT:
    case EFBIG:
      return "free some space or write elsewhere";
    case EACCES:
    case EPERM:
    case EROFS:
      return "check the permissions or name another place";
    default:
      return "check the path and the disk";
  }
}

[[noreturn]] void fail(const char* what, const fs::path& path, int error_number) {
  throw ResourceError(cat(path.string(), ": ", what, " failed: ", std::strerror(error_number), "; ",
                          remedy_for(error_number)));
}

void write_all(int descriptor, std::string_view bytes, const fs::path& path) {
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
  if (result != 0) fail("fsync", path, errno);
}

/// A fifo is opened at once, whoever writes to it: what waits for it is the reading, which a signal
/// can end.
int open_to_read(const fs::path& path) {
  struct stat status = {};
  const bool is_fifo = ::stat(path.c_str(), &status) == 0 && S_ISFIFO(status.st_mode);
  return ::open(path.c_str(), O_RDONLY | O_CLOEXEC | (is_fifo ? O_NONBLOCK : 0));
}

}  // namespace

std::string read_file(const fs::path& path, ErrorKind kind, std::uint64_t max_bytes) {
  const std::string name = path.empty() ? "\"\"" : path.string();
  const Descriptor file(open_to_read(path));
  if (file.get() < 0)
    throw_error(kind, cat(name, ": can not be read: ", std::strerror(errno), "; check the path"));
  return read_descriptor(file.get(), name, kind, max_bytes);
}

std::string read_descriptor(int descriptor, const std::string& name, ErrorKind kind,
                            std::uint64_t max_bytes) {
  const auto refuse = [&](const std::string& what) { throw_error(kind, cat(name, ": ", what)); };
  const auto refuse_size = [&] {
    refuse(cat("is larger than ", human_bytes(static_cast<double>(max_bytes)),
               "; name a smaller file"));
  };
  struct stat status = {};
  if (::fstat(descriptor, &status) != 0)
    refuse(cat("can not be read: ", std::strerror(errno), "; check the disk"));
  if (S_ISDIR(status.st_mode)) refuse("is a folder, not a file; name a file in it");
  const auto size = static_cast<std::uint64_t>(std::max<off_t>(0, status.st_size));
  if (size > max_bytes) refuse_size();
  std::string out;
  out.reserve(size);
  std::vector<char> buffer(std::size_t{1} << 16U);
  while (true) {  // to the end, whatever the size said: pipes and /proc files say 0
    if (!S_ISREG(status.st_mode) && !wait_for_input(descriptor)) throw Interrupted(stop_signal());
    const auto count = ::read(descriptor, buffer.data(), buffer.size());
    if (count < 0 && (errno == EINTR || errno == EAGAIN)) continue;
    if (count < 0) refuse(cat("can not be read: ", std::strerror(errno), "; check the disk"));
    if (count == 0) return out;
    out.append(buffer.data(), static_cast<std::size_t>(count));
    if (out.size() > max_bytes) refuse_size();
  }
}

FaultPlan FaultPlan::parse(std::string_view text) {
  const auto refuse = [&](std::string_view what) {
    throw ConfigError(cat("fault plan \"", printable(text), "\": ", what));
  };
  FaultPlan plan;
  const auto at = text.find('@');
  if (at == std::string_view::npos) refuse("no \"@\"; give ACTION@OPERATION, e.g. crash@7");
  const auto name = text.substr(0, at);
  auto number = text.substr(at + 1);
  plan.sticky = number.ends_with('+');
  if (plan.sticky) number.remove_suffix(1);
  const auto [end, error] =
      std::from_chars(number.data(), number.data() + number.size(), plan.operation);
  if (error != std::errc() || end != number.data() + number.size() || plan.operation < 1)
    refuse("the operation is not a number from 1; give e.g. crash@7");
  if (name == "crash") {
    plan.action = Action::crash;
  } else if (name == "EIO" || name == "ENOSPC") {
    plan.action = Action::fail;
    plan.error_number = name == "EIO" ? EIO : ENOSPC;
  } else if (name == "short") {
    plan.action = Action::short_write;
    plan.error_number = ENOSPC;
  } else {
    refuse("unknown action; give crash, short, EIO or ENOSPC");
  }
  return plan;
}

bool FileLayer::step(const char* what, const fs::path& path, bool writes_bytes) {
  ++operations_;
  const bool due = plan_.sticky ? operations_ >= plan_.operation : operations_ == plan_.operation;
  if (!due || plan_.action == FaultPlan::Action::none) return false;
  if (plan_.action == FaultPlan::Action::crash) std::raise(SIGKILL);
  if (plan_.action == FaultPlan::Action::short_write && writes_bytes) return true;
  fail(what, path, plan_.error_number);
}

void FileLayer::make_folder(const fs::path& folder) {
  step("making the folder", folder);
  std::error_code error;
  fs::create_directories(folder, error);
  if (error) fail("making the folder", folder, error.value());
}

void FileLayer::write_file(const fs::path& path, std::span<const std::string_view> pieces) {
  const bool cut_short = step("writing", path, true);
  const Descriptor file(::open(path.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644));
  if (file.get() < 0) fail("creating", path, errno);
  std::size_t budget = 0;
  for (const auto piece : pieces) budget += piece.size();
  if (cut_short) budget /= 2;
  for (const auto piece : pieces) {
    const auto now = piece.substr(0, budget);
    write_all(file.get(), now, path);
    budget -= now.size();
  }
  if (cut_short) fail("writing", path, ENOSPC);
  step("fsync", path);
  sync(file.get(), path);
}

void FileLayer::sync_folder(const fs::path& folder) {
  step("fsync", folder);
  const Descriptor file(::open(folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (file.get() < 0) fail("opening", folder, errno);
  sync(file.get(), folder);
}

void FileLayer::rename(const fs::path& from, const fs::path& to) {
  step("renaming", to);
  if (::rename(from.c_str(), to.c_str()) != 0) fail("renaming", to, errno);
}

void FileLayer::remove(const fs::path& path) {
  step("removing", path);
  std::error_code error;
  fs::remove_all(path, error);
  if (error) fail("removing", path, error.value());
}

void FileLayer::append(const fs::path& path, std::string_view text) {
  const bool cut_short = step("appending", path, true);
  const Descriptor file(::open(path.c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0644));
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
  step("truncating", path);
  const Descriptor file(::open(path.c_str(), O_WRONLY | O_CLOEXEC));
  if (file.get() < 0) fail("opening", path, errno);
  if (::ftruncate(file.get(), static_cast<off_t>(size)) != 0) fail("truncating", path, errno);
  sync(file.get(), path);
}

void FileLayer::replace(const fs::path& path, std::span<const std::string_view> pieces) {
  const auto folder = path.has_parent_path() ? path.parent_path() : fs::path(".");
  const auto temporary = folder / (std::string(kTemporaryPrefix) + path.filename().string());
  try {
    write_file(temporary, pieces);
    rename(temporary, path);
  } catch (const Error&) {
    std::error_code ignored;
    fs::remove(temporary, ignored);
    throw;
  }
  sync_folder(folder);
}

namespace {

/// What the holder of a lock wrote about itself; "" when it has not come to it.
std::string holder_of(int descriptor) {
  std::array<char, 300> note{};
  const auto count = ::pread(descriptor, note.data(), note.size(), 0);
  return printable({note.data(), static_cast<std::size_t>(std::max<ssize_t>(0, count))},
                   note.size());
}

/// Takes the lock on the open file; throws when another has it.
void take(int descriptor, const fs::path& path) {
  // Between taking the lock and writing the note lie microseconds: two runs started at once meet
  // there. One that only looks (is_held) holds it as briefly.
  constexpr int kLooks = 6, kTries = 40;
  constexpr std::chrono::milliseconds kPause{5};
  std::string holder;
  for (int i = 0; i < kLooks || (holder.empty() && i < kTries); ++i) {
    if (::flock(descriptor, LOCK_EX | LOCK_NB) == 0) return;
    if (errno != EWOULDBLOCK) fail("locking", path, errno);
    std::this_thread::sleep_for(kPause);
    holder = holder_of(descriptor);
  }
  const auto folder = path.has_parent_path() ? path.parent_path() : path;
  throw ResourceError(cat(folder.string(), ": in use by ",
                          holder.empty() ? "another process" : holder,
                          "; wait for it, stop it, or name another folder"));
}

}  // namespace

FileLock::FileLock(const fs::path& path)
    : descriptor_(::open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0644)) {
  if (descriptor_ < 0) fail("opening the lock", path, errno);
  try {
    take(descriptor_, path);
  } catch (...) {
    ::close(descriptor_);  // the destructor does not run
    throw;
  }
  // The note is for people: on a full disk the lock holds without it.
  const auto note = cat("pid ", ::getpid(), " on ", host_name(), " since ", utc_now());
  if (::ftruncate(descriptor_, 0) == 0)
    std::ignore = ::pwrite(descriptor_, note.data(), note.size(), 0);
}

bool FileLock::is_held(const fs::path& path) {
  const Descriptor file(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
  if (file.get() < 0) return errno != ENOENT && errno != ENOTDIR;
  return ::flock(file.get(), LOCK_SH | LOCK_NB) != 0;  // else its closing lets go of it
}

FileLock::FileLock(FileLock&& other) noexcept : descriptor_(std::exchange(other.descriptor_, -1)) {}

FileLock::~FileLock() {
  if (descriptor_ < 0) return;
  std::ignore = ::ftruncate(descriptor_, 0);  // so that the next holder is not taken for this one
  ::close(descriptor_);
}

}  // namespace moe
