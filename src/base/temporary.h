#pragma once

#include <filesystem>
#include <optional>

#include "moe/base/descriptor.h"
#include "moe/base/file.h"

namespace moe {

/// A file next to its target, to be renamed over it. It is locked while it lives, so that no sweep
/// takes it for a left-over, and removed again unless it was renamed.
class Temporary {
 public:
  /// Throws SystemFailure.
  Temporary(const fs::path& target, const FileLayer& files);
  ~Temporary();
  Temporary(const Temporary&) = delete;
  Temporary& operator=(const Temporary&) = delete;

  int descriptor() const { return file_->get(); }
  const fs::path& path() const { return path_; }
  /// It has its target's name now.
  void release() { path_.clear(); }

 private:
  bool try_create(const fs::path& target, const FileLayer& files);

  fs::path path_;
  std::optional<Descriptor> file_;
};

}  // namespace moe
