#pragma once

#include <sys/mman.h>
#include <unistd.h>

#include <cstdint>
#include <filesystem>
#include <string>

#include "moe/base/descriptor.h"

namespace moe::test {

/// A file in memory alone, of these bytes.
class MemoryFile {
 public:
  MemoryFile(const std::uint8_t* data, std::size_t size)
      : file_(memfd_create("input", MFD_CLOEXEC)) {
    for (std::size_t at = 0; at < size;) {
      const auto written = ::write(file_.get(), data + at, size - at);
      if (written <= 0) break;
      at += static_cast<std::size_t>(written);
    }
  }
  std::filesystem::path path() const { return "/proc/self/fd/" + std::to_string(file_.get()); }

 private:
  Descriptor file_;
};

}  // namespace moe::test
