#pragma once

#include <cstdint>
#include <memory>
#include <string_view>

#include "moe/base/file.h"

namespace moe {

class Temporary;

/// A file that is too large to be held, written piece by piece: as FileLayer::replace it appears
/// whole or not at all, under a temporary name until `commit`. Without that it is removed again.
/// All functions throw as those of FileLayer do, and count as changes to the disk there.
class FileWriter {
 public:
  /// Left-overs of earlier writes of this file go. `files` must outlive the writer.
  FileWriter(const fs::path& path, FileLayer& files);
  ~FileWriter();
  FileWriter(const FileWriter&) = delete;
  FileWriter& operator=(const FileWriter&) = delete;

  void append(std::string_view bytes);
  /// Writes over bytes that were appended before, all of which lie in front of it.
  void overwrite(std::uint64_t begin, std::string_view bytes);
  /// fsync, rename, fsync of the folder. Nothing may be written afterwards.
  void commit();

 private:
  FileLayer& files_;
  fs::path path_, target_;
  std::unique_ptr<Temporary> temporary_;
};

}  // namespace moe
