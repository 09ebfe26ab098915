#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <string>

#include "base/failure.h"
#include "base/temporary.h"
#include "moe/base/descriptor.h"
#include "moe/base/file.h"
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

}  // namespace

void FileLayer::replace(const fs::path& path, Pieces pieces) {
  const auto target = behind_links(path);
  refuse_unless_file(target, type_of(target, ErrorKind::resource));
  const bool cut_short = step_of_write("writing", path);
  Temporary temporary(target, *this);
  write_pieces(temporary.descriptor(), path, pieces, cut_short);
  rename(temporary.path(), target);
  temporary.release();
  sync_folder(folder_of(target));
}

void FileLayer::write_output(const fs::path& path, Pieces pieces) {
  const auto type = type_of(path, ErrorKind::resource);
  const bool is_stream = type == fs::file_type::character || type == fs::file_type::fifo;
  if (is_stream || descriptor_behind(path)) return write_in_place(path, pieces);
  const auto target = behind_links(path);
  try {
    replace(path, pieces);
    sweep_temporaries(folder_of(target), target.filename().string());
  } catch (const SystemFailure& failure) {
    if (type != fs::file_type::regular || !is_about_the_name(failure.number())) throw;
    write_in_place(path, pieces);
    warn(cat(failure.what(), " (written in place instead, which a crash would have cut short)"));
  }
}

void FileLayer::write_in_place(const fs::path& path, Pieces pieces) {
  const bool cut_short = step_of_write("writing", path);
  // An open file is written to where it stands: opened anew, it would begin at its start.
  const auto number = descriptor_behind(path);
  int opened = -1;
  do
    opened = number ? ::fcntl(*number, F_DUPFD_CLOEXEC, 0)
                    : ::open(path.c_str(), O_WRONLY | O_TRUNC | O_CLOEXEC);
  while (opened < 0 && errno == EINTR);
  const Descriptor file(opened);
  if (file.get() < 0) fail("opening", path, errno);
  write_pieces(file.get(), path, pieces, cut_short);
}

}  // namespace moe
