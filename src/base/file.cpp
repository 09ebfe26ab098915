#include "moe/base/file.h"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <csignal>
#include <cstdlib>
#include <cstring>
#include <utility>

#include "moe/base/system.h"
#include "moe/base/text.h"

namespace moe {

namespace {

/// A descriptor that is closed when it goes.
class Descriptor {
 public:
  explicit Descriptor(int descriptor) : descriptor_(descriptor) {}
  ~Descriptor() {
    if (descriptor_ >= 0) ::close(descriptor_);
  }
  Descriptor(const Descriptor&) = delete;
  Descriptor& operator=(const Descriptor&) = delete;
  int get() const { return descriptor_; }

 private:
  int descriptor_;
};

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
  if (::fsync(descriptor) != 0) fail("fsync", path, errno);
}

}  // namespace

std::string read_file(const fs::path& path, ErrorKind kind, std::uint64_t max_bytes) {
  const auto refuse = [&](const std::string& what) {
    throw Error(kind, cat(path.string(), ": ", what));
  };
  const Descriptor file(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
  if (file.get() < 0) refuse(cat("can not be read: ", std::strerror(errno), "; check the path"));
  struct stat status = {};
  if (::fstat(file.get(), &status) != 0 || S_ISDIR(status.st_mode))
    refuse("is a folder, not a file; name a file in it");
  std::string out;
  std::array<char, 1 << 16> buffer{};
  if (S_ISREG(status.st_mode)) out.reserve(std::min<std::uint64_t>(static_cast<std::uint64_t>(status.st_size), max_bytes));
  while (true) {
    const auto count = ::read(file.get(), buffer.data(), buffer.size());
    if (count < 0 && errno == EINTR) continue;
    if (count < 0) refuse(cat("can not be read: ", std::strerror(errno), "; check the disk"));
    if (count == 0) return out;
    out.append(buffer.data(), static_cast<std::size_t>(count));
    if (out.size() > max_bytes)
      refuse(cat("is larger than ", human_bytes(static_cast<double>(max_bytes)), "; name a smaller file"));
  }
}

FaultPlan FaultPlan::parse(std::string_view text) {
  FaultPlan plan;
  const auto at = text.find('@');
  const auto name = text.substr(0, at);
  if (at == std::string_view::npos)
    throw ConfigError(cat("fault plan \"", printable(text), "\": give ACTION@OPERATION"));
  plan.sticky = text.ends_with('+');
  plan.operation = std::atoll(std::string(text.substr(at + 1)).c_str());
  plan.error_number = name == "EIO" ? EIO : ENOSPC;
  if (name == "crash")
    plan.action = Action::crash;
  else if (name == "short")
    plan.action = Action::short_write;
  else if (name == "EIO" || name == "ENOSPC")
    plan.action = Action::fail;
  else
    throw ConfigError(cat("fault plan \"", printable(text), "\": the action is crash, short, EIO or ENOSPC"));
  return plan;
}

void FileLayer::step(const char* what, const fs::path& path) {
  ++operations_;
  const bool due = plan_.sticky ? operations_ >= plan_.operation : operations_ == plan_.operation;
  if (!due || plan_.action == FaultPlan::Action::none) return;
  if (plan_.action == FaultPlan::Action::crash) std::raise(SIGKILL);
  if (plan_.action == FaultPlan::Action::fail) fail(what, path, plan_.error_number);
}

void FileLayer::make_folder(const fs::path& folder) {
  step("making the folder", folder);
  std::error_code error;
  fs::create_directories(folder, error);
  if (error) fail("making the folder", folder, error.value());
}

void FileLayer::write_file(const fs::path& path, std::span<const std::string_view> pieces) {
  step("writing", path);
  const bool cut_short = plan_.action == FaultPlan::Action::short_write && operations_ == plan_.operation;
  const Descriptor file(::open(path.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644));
  if (file.get() < 0) fail("creating", path, errno);
  for (std::size_t i = 0; i < pieces.size(); ++i) {
    if (cut_short && i == pieces.size() / 2) {
      write_all(file.get(), pieces[i].substr(0, pieces[i].size() / 2), path);
      fail("writing", path, ENOSPC);
    }
    write_all(file.get(), pieces[i], path);
  }
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
  step("appending", path);
  const Descriptor file(::open(path.c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0644));
  if (file.get() < 0) fail("opening", path, errno);
  write_all(file.get(), text, path);
}

void FileLayer::truncate(const fs::path& path, std::uint64_t size) {
  step("truncating", path);
  const Descriptor file(::open(path.c_str(), O_WRONLY | O_CLOEXEC));
  if (file.get() < 0) fail("opening", path, errno);
  if (::ftruncate(file.get(), static_cast<off_t>(size)) != 0) fail("truncating", path, errno);
  sync(file.get(), path);
}

void FileLayer::replace(const fs::path& path, std::string_view text) {
  const auto folder = path.has_parent_path() ? path.parent_path() : fs::path(".");
  const auto temporary = folder / (std::string(kTemporaryPrefix) + path.filename().string());
  try {
    write_file(temporary, std::span(&text, 1));
    rename(temporary, path);
  } catch (const Error&) {
    std::error_code ignored;
    fs::remove(temporary, ignored);
    throw;
  }
  sync_folder(folder);
}

FileLock::FileLock(const fs::path& path)
    : descriptor_(::open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0644)) {
  if (descriptor_ < 0) fail("opening the lock", path, errno);
  if (::flock(descriptor_, LOCK_EX | LOCK_NB) != 0) {
    std::array<char, 300> holder{};
    const auto count = ::pread(descriptor_, holder.data(), holder.size() - 1, 0);
    ::close(std::exchange(descriptor_, -1));
    throw ResourceError(cat(path.parent_path().string(), ": in use by ",
                            count > 0 ? printable(holder.data(), 200) : "another process",
                            "; wait for it, stop it, or name another folder"));
  }
  const auto holder = cat("pid ", ::getpid(), " on ", host_name(), " since ", utc_now());
  if (::ftruncate(descriptor_, 0) == 0) write_all(descriptor_, holder, path);
}

FileLock::FileLock(FileLock&& other) noexcept : descriptor_(std::exchange(other.descriptor_, -1)) {}

FileLock::~FileLock() {
  if (descriptor_ >= 0) ::close(descriptor_);
}

}  // namespace moe
