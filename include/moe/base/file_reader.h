#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <optional>
#include <span>
#include <string>
#include <string_view>

#include "moe/base/descriptor.h"
#include "moe/base/error.h"

namespace moe {

/// A file of any size, read piece by piece: little of it is in memory at once. What has no size of
/// its own (a pipe) is held whole, up to the limit of read_file.
class FileReader {
 public:
  /// Throws as read_file does.
  FileReader(const std::filesystem::path& path, ErrorKind kind);

  std::uint64_t size() const { return size_; }
  /// Fills `to` with the bytes from `begin` on. Throws where the file ends before.
  void read(std::uint64_t begin, std::span<char> to) const;
  /// Hands [begin, end) to `use`, one block after another: whole multiples of 8 bytes but the last.
  void read_blocks(std::uint64_t begin, std::uint64_t end,
                   const std::function<void(std::string_view)>& use) const;

 private:
  std::string name_;
  ErrorKind kind_;
  Descriptor file_;
  std::optional<std::string> held_;  // of a pipe
  std::uint64_t size_ = 0;
};

}  // namespace moe
