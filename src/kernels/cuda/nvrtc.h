#pragma once

#include <memory>
#include <string>

#include "kernels/cuda/program.h"

namespace moe::kernels::cuda {

/// NVIDIA's run-time compiler, which is looked for when it is needed: makemoe is built and runs
/// without it. It needs no GPU.
class Nvrtc {
 public:
  /// The library of that name or path; where it is empty, the one that libtorch's CUDA build comes
  /// with, or the system's. Throws ResourceError where there is none, or one that lacks functions.
  explicit Nvrtc(const std::string& library = "");
  ~Nvrtc();
  Nvrtc(const Nvrtc&) = delete;
  Nvrtc& operator=(const Nvrtc&) = delete;

  /// "13.0".
  std::string version() const;
  /// For GPUs of `architecture`, e.g. "sm_90". Throws ResourceError where the compiler does not
  /// know it; a text that does not compile is a bug: std::logic_error with the compiler's log.
  Program compile(const ProgramSource& source, const std::string& architecture) const;

 private:
  struct Library;
  class Compilation;
  std::unique_ptr<Library> library_;
};

}  // namespace moe::kernels::cuda
