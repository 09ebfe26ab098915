#pragma once

#include <sys/mman.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <string>
#include <string_view>

#include "moe/base/descriptor.h"

namespace moe::fuzz {

/// A file in memory alone.
class MemoryFile {
 public:
  MemoryFile() : file_(::memfd_create("fuzz", MFD_CLOEXEC)) {}
  std::filesystem::path path() const { return "/proc/self/fd/" + std::to_string(file_.get()); }
  void set(std::string_view bytes) {
    if (::ftruncate(file_.get(), 0) != 0 ||
        ::pwrite(file_.get(), bytes.data(), bytes.size(), 0) != static_cast<ssize_t>(bytes.size()))
      std::abort();
  }

 private:
  Descriptor file_;
};

}  // namespace moe::fuzz
