#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <chrono>
#include <string>
#include <thread>

#include "base/failure.h"
#include "base/temporary.h"
#include "moe/base/descriptor.h"
#include "moe/base/file.h"
#include "moe/base/interrupt.h"
#include "moe/base/text.h"

namespace moe {

namespace {

fs::path folder_of(const fs::path& path) {
  return path.has_parent_path() ? path.parent_path() : fs::path(".");
}

void refuse_unless_file(const fs::path& path, fs::file_type type) {
  const auto refuse = [&](std::string_view what) {
    throw ResourceError(cat(path.string(), ": is ", what));
  };
  if (type == fs::file_type::directory || !path.has_filename())
    refuse("a folder, not a file; name a file in it");
  if (type == fs::file_type::block) refuse("a disk, which is not written over; name a file");
  if (type != fs::file_type::regular && type != fs::file_type::not_found)
    refuse("a device, a pipe or a socket, not a file; name a file");
}

/// Whether it may help to write into the file that is there.
bool is_about_the_name(int error) {
  return error == EBUSY || error == EXDEV || error == EACCES || error == EPERM || error == EROFS;
}

/// A fifo that nobody reads yet is awaited, until a signal asks to stop: a blocking open would wait
/// for a reader alone.
int open_in_place(const fs::path& path) {
  constexpr auto kLookAgain = std::chrono::milliseconds(10);
  while (true) {
    const int opened = ::open(path.c_str(), O_WRONLY | O_TRUNC | O_CLOEXEC | O_NONBLOCK);
    if (opened >= 0) return opened;
    if (errno == EINTR) continue;
    if (errno != ENXIO || type_of(path, ErrorKind::resource) != fs::file_type::fifo) return -1;
    if (stop_signal() != 0) throw Interrupted(stop_signal());
    std::this_thread::sleep_for(kLookAgain);
  }
}

}  // namespace

void FileLayer::replace(const fs::path& path, Pieces pieces) {
  replace_by(path, [&](int descriptor, bool cut_short) {
    write_pieces(descriptor, path, pieces, cut_short);
  });
}

void FileLayer::replace(const fs::path& path, const ByteSource& source) {
  replace_by(path, [&](int descriptor, bool cut_short) {
    write_source(descriptor, path, source, cut_short);
  });
}

fs::path FileLayer::target_of(const fs::path& path) {
  auto target = behind_links(path);
  refuse_unless_file(target, type_of(target, ErrorKind::resource));
  return target;
}

void FileLayer::replace_by(const fs::path& path, const Write& write) {
  const auto target = target_of(path);
  const bool cut_short = step_of_write("writing", path);
  Temporary temporary(target, *this);
  write(temporary.descriptor(), cut_short);
  rename(temporary.path(), target);
  temporary.release();
  sync_folder(folder_of(target));
}

void FileLayer::write_output(const fs::path& path, Pieces pieces) {
  write_output_by(path, [&](int descriptor, bool cut_short) {
    write_pieces(descriptor, path, pieces, cut_short);
  });
}

void FileLayer::write_output(const fs::path& path, const ByteSource& source) {
  write_output_by(path, [&](int descriptor, bool cut_short) {
    write_source(descriptor, path, source, cut_short);
  });
}

void FileLayer::write_output_by(const fs::path& path, const Write& write) {
  const auto type = type_of(path, ErrorKind::resource);
  const bool is_stream = type == fs::file_type::character || type == fs::file_type::fifo;
  if (is_stream || descriptor_behind(path)) return write_in_place(path, write);
  const auto target = behind_links(path);
  try {
    replace_by(path, write);
    sweep_temporaries(folder_of(target), target.filename().string());
  } catch (const SystemFailure& failure) {
    if (type != fs::file_type::regular || !is_about_the_name(failure.number())) throw;
    write_in_place(path, write);
    warn(cat(failure.what(), " (written in place instead, which a crash would have cut short)"));
  }
}

void FileLayer::write_in_place(const fs::path& path, const Write& write) {
  const bool cut_short = step_of_write("writing", path);
  // An open file is written to where it stands: opened anew, it would begin at its start.
  const auto number = descriptor_behind(path);
  const Descriptor file(number ? ::fcntl(*number, F_DUPFD_CLOEXEC, 0) : open_in_place(path));
  if (file.get() < 0) fail("opening", path, errno);
  write(file.get(), cut_short);
}

}  // namespace moe
