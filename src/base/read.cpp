#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <vector>

#include "moe/base/descriptor.h"
#include "moe/base/file.h"
#include "moe/base/file_reader.h"
#include "moe/base/interrupt.h"
#include "moe/base/text.h"

namespace moe {

namespace {

constexpr std::uint64_t kMostHeld = std::uint64_t{8} << 30U;

std::string name_of(const fs::path& path) { return path.empty() ? "\"\"" : path.string(); }

/// A fifo is opened at once, whoever writes to it: what waits for it is the reading, which a signal
/// can end.
int open_to_read(const fs::path& path, ErrorKind kind) {
  struct stat status = {};
  const bool is_fifo = ::stat(path.c_str(), &status) == 0 && S_ISFIFO(status.st_mode);
  const int file = ::open(path.c_str(), O_RDONLY | O_CLOEXEC | (is_fifo ? O_NONBLOCK : 0));
  if (file < 0)
    throw_error(kind,
                cat(name_of(path), ": cannot be read: ", std::strerror(errno), "; check the path"));
  return file;
}

}  // namespace

std::string read_file(const fs::path& path, ErrorKind kind, std::uint64_t max_bytes) {
  const Descriptor file(open_to_read(path, kind));
  return read_descriptor(file.get(), name_of(path), kind, max_bytes);
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
    refuse(cat("cannot be read: ", std::strerror(errno), "; check the disk"));
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
    if (count < 0) refuse(cat("cannot be read: ", std::strerror(errno), "; check the disk"));
    if (count == 0) return out;
    out.append(buffer.data(), static_cast<std::size_t>(count));
    if (out.size() > max_bytes) refuse_size();
  }
}

FileReader::FileReader(const fs::path& path, ErrorKind kind)
    : name_(name_of(path)), kind_(kind), file_(open_to_read(path, kind)) {
  struct stat status = {};
  if (::fstat(file_.get(), &status) == 0 && S_ISREG(status.st_mode)) {
    size_ = static_cast<std::uint64_t>(status.st_size);
    return;
  }
  held_ = read_descriptor(file_.get(), name_, kind, kMostHeld);  // which refuses a folder
  size_ = held_->size();
}

void FileReader::read(std::uint64_t begin, std::span<char> to) const {
  const auto refuse = [&](std::string_view why) {
    throw_error(kind_, cat(name_, ": cannot be read: ", why, "; check the disk"));
  };
  if (held_) {
    if (begin + to.size() > held_->size()) refuse(cat("it ends at byte ", held_->size()));
    held_->copy(to.data(), to.size(), begin);
    return;
  }
  while (!to.empty()) {
    const auto count = ::pread(file_.get(), to.data(), to.size(), static_cast<off_t>(begin));
    if (count < 0 && errno == EINTR) continue;
    if (count < 0) refuse(std::strerror(errno));
    if (count == 0) refuse(cat("it ends at byte ", begin));
    begin += static_cast<std::uint64_t>(count);
    to = to.subspan(static_cast<std::size_t>(count));
  }
}

void FileReader::read_blocks(std::uint64_t begin, std::uint64_t end,
                             const std::function<void(std::string_view)>& use) const {
  constexpr std::uint64_t kBlock = std::uint64_t{1} << 20U;
  std::vector<char> buffer(std::min(kBlock, end - begin));
  for (; begin < end; begin += std::min(kBlock, end - begin)) {
    const auto block = std::span(buffer).first(std::min(kBlock, end - begin));
    read(begin, block);
    use({block.data(), block.size()});
  }
}

}  // namespace moe
