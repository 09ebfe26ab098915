#pragma once

#include <filesystem>
#include <string_view>

#include "moe/base/error.h"

namespace moe {

/// What the system refused, with its number.
class SystemFailure : public ResourceError {
 public:
  SystemFailure(const std::string& message, int number) : ResourceError(message), number_(number) {}
  int number() const { return number_; }

 private:
  int number_;
};

/// "PATH: WHAT failed: the system's reason; a remedy".
[[noreturn]] void fail(std::string_view what, const std::filesystem::path& path, int error_number);

/// Whether a file system says with this that it does not have the operation at all.
bool is_unsupported(int error_number);

}  // namespace moe
