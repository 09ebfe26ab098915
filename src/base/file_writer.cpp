#include "moe/base/file_writer.h"

#include <unistd.h>

#include <cerrno>

#include "base/failure.h"
#include "base/temporary.h"

namespace moe {

namespace {

fs::path folder_holding(const fs::path& path) {
  return path.has_parent_path() ? path.parent_path() : fs::path(".");
}

}  // namespace

FileWriter::FileWriter(const fs::path& path, FileLayer& files)
    : files_(files), path_(path), target_(files.target_of(path)) {
  files.sweep_temporaries(folder_holding(target_), target_.filename().string());
  files.step_or_fail("creating", path);
  temporary_ = std::make_unique<Temporary>(target_, files);
}

FileWriter::~FileWriter() = default;

void FileWriter::append(std::string_view bytes) {
  const bool cut_short = files_.step_of_write("writing", path_);
  files_.write_to(temporary_->descriptor(), path_,
                  cut_short ? bytes.substr(0, bytes.size() / 2) : bytes);
  if (cut_short) fail("writing", path_, ENOSPC);
}

void FileWriter::overwrite(std::uint64_t begin, std::string_view bytes) {
  files_.step_or_fail("writing", path_);
  while (!bytes.empty()) {
    const auto written =
        ::pwrite(temporary_->descriptor(), bytes.data(), bytes.size(), static_cast<off_t>(begin));
    if (written < 0 && errno == EINTR) continue;
    if (written < 0) fail("writing", path_, errno);
    begin += static_cast<std::uint64_t>(written);
    bytes.remove_prefix(static_cast<std::size_t>(written));
  }
}

void FileWriter::commit() {
  files_.sync_written(temporary_->descriptor(), path_, /*cut_short=*/false);
  files_.rename(temporary_->path(), target_);
  temporary_->release();
  files_.sync_folder(folder_holding(target_));
}

}  // namespace moe
