#pragma once

#include <array>
#include <map>
#include <mutex>
#include <string>

#include "kernels/cuda/driver.h"
#include "kernels/cuda/nvrtc.h"
#include "kernels/cuda/program_cache.h"

namespace moe::kernels::cuda {

/// Which compiler and driver make machine code of the texts; empty names: what the system has.
struct Toolchain {
  std::string nvrtc, driver = "libcuda.so.1";
  fs::path cache = program_cache_folder();
};

/// The kernels of src/kernels/cuda for one GPU: compiled when they are first asked for, then kept.
/// May be asked from several threads.
class Kernels {
 public:
  explicit Kernels(Toolchain toolchain = {});

  /// Starts a kernel, e.g. {"draws.cuh", "draw_mask<float>"}, on `stream` of the current GPU, which
  /// must be the same in each call. The arguments are its own, in order and of its types, or of
  /// types that are laid out alike.
  template <class... Arguments>
  void start(const char* file, const std::string& kernel, Launch launch, void* stream,
             Arguments... arguments) {
    std::array<void*, sizeof...(arguments)> places{static_cast<void*>(&arguments)...};
    driver_.launch(function(file, kernel), launch, stream, places.data());
  }

 private:
  Function function(const char* file, const std::string& kernel);

  Toolchain toolchain_;
  Driver driver_;
  std::mutex mutex_;
  std::map<std::string, Function> functions_;  // by kernel
};

}  // namespace moe::kernels::cuda
