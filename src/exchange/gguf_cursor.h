#pragma once

#include <cstdint>
#include <cstring>
#include <string>
#include <string_view>

#include "moe/base/file_reader.h"

namespace moe {

/// Takes the front of a GGUF file apart. Whatever the file claims is held against what is left of
/// it before anything is allocated.
class GgufCursor {
 public:
  GgufCursor(const FileReader& file, std::string_view where) : file_(file), where_(where) {}

  /// Throws CheckpointError: "<where>: <what>; <what to do>".
  [[noreturn]] void refuse(const std::string& what) const;

  std::uint64_t at() const { return at_; }
  std::uint64_t left() const { return file_.size() - at_; }

  /// `what` is being read, for the message where the file ends.
  template <class T>
  T number(std::string_view what) {
    T value;
    const auto bytes = take(sizeof(T), what);
    std::memcpy(&value, bytes.data(), sizeof(T));
    return value;
  }
  /// A length and as many bytes, which have to be UTF-8.
  std::string text(std::string_view what);
  /// How many things follow, each of at least `least` bytes.
  std::uint64_t count(std::uint64_t least, std::string_view what);

 private:
  /// The next bytes; valid until the next call.
  std::string_view take(std::uint64_t size, std::string_view what);

  const FileReader& file_;
  std::string_view where_;
  std::uint64_t at_ = 0;
  std::string held_;  // bytes of the file from held_at_ on
  std::uint64_t held_at_ = 0;
};

}  // namespace moe
