#pragma once

#include <functional>
#include <optional>
#include <string>

#include "kernels/cuda/program.h"
#include "moe/base/file.h"

namespace moe::kernels::cuda {

/// What a program's machine code depends on besides its source.
struct ProgramTarget {
  std::string architecture;  // "sm_90"
  std::string compiler;      // its version
};

/// Compiled programs as files, each named by the hash of all that it depends on, so that a GPU's
/// are compiled once. What is missing, unreadable, damaged or of another format is compiled again;
/// a folder that can not be written costs no more than that.
class ProgramCache {
 public:
  /// An empty folder keeps nothing.
  explicit ProgramCache(fs::path folder) : folder_(std::move(folder)) {}

  Program get(const ProgramSource& source, const ProgramTarget& target,
              const std::function<Program()>& compile) const;

 private:
  std::optional<Program> read(const fs::path& path, const ProgramSource& source) const;
  void write(const fs::path& path, const Program& program) const;

  fs::path folder_;
};

/// Where programs are kept: "makemoe" in $XDG_CACHE_HOME, else in ~/.cache; empty without a home.
fs::path program_cache_folder();

}  // namespace moe::kernels::cuda
