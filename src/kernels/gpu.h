#pragma once

#include <string>

#include "kernels/cuda/kernels.h"

namespace moe::kernels {

/// The current GPU's own kernels, and the stream that libtorch uses there. Throw std::logic_error
/// in a binary without CUDA.
cuda::Kernels& gpu_kernels();
void* gpu_stream();

/// Starts a kernel of src/kernels/cuda (cuda::Kernels::start) on the current GPU and stream.
template <class... Arguments>
void start_on_gpu(const char* file, const std::string& kernel, cuda::Launch launch,
                  Arguments... arguments) {
  gpu_kernels().start(file, kernel, launch, gpu_stream(), arguments...);
}

}  // namespace moe::kernels
