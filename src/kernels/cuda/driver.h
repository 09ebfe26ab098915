#pragma once

#include <cstdint>
#include <memory>
#include <string>

#include "kernels/cuda/program.h"

namespace moe::kernels::cuda {

/// How many threads run a kernel, in one dimension.
struct Launch {
  std::uint32_t blocks, threads;
};

/// A kernel's machine code on a GPU.
using Function = void*;

/// NVIDIA's driver, libcuda.so.1, which is looked for when it is needed. What it does, it does on
/// the GPU whose context is this thread's current one: libtorch's, once that has used the GPU.
class Driver {
 public:
  /// The library of that name or path. Throws ResourceError where there is none.
  explicit Driver(const std::string& library = "libcuda.so.1");
  ~Driver();
  Driver(const Driver&) = delete;
  Driver& operator=(const Driver&) = delete;

  /// Of the current GPU: "sm_90".
  std::string architecture() const;
  /// Takes the code over to the current GPU, for as long as the process lives.
  void* load(const std::string& code) const;
  Function function(void* module, const std::string& symbol) const;
  /// Starts a kernel on `stream` and does not wait. `arguments` are pointers to its arguments, in
  /// order, each laid out as the kernel's.
  void launch(Function function, Launch launch, void* stream, void** arguments) const;

 private:
  struct Library;
  std::unique_ptr<Library> library_;
};

}  // namespace moe::kernels::cuda
