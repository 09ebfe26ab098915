#pragma once

#include <ATen/core/Tensor.h>
#include <c10/core/DeviceGuard.h>

#include <cstdint>
#include <string>

#include "kernels/cuda/kernels.h"

namespace moe::kernels {

/// The current GPU's own kernels, and the stream that libtorch uses there. Throw std::logic_error
/// in a binary without CUDA.
cuda::Kernels& gpu_kernels();
void* gpu_stream();

inline constexpr std::uint32_t kGpuThreads = 256;  // of a block
/// For kernels whose threads take turns at `items`.
cuda::Launch gpu_launch(std::int64_t items);
/// How the texts name the type of values: "float" or "double".
const char* gpu_type(const at::Tensor& values);

/// Starts a kernel of src/kernels/cuda (cuda::Kernels::start) on the GPU of `on`, on the stream
/// that is current there.
template <class... Arguments>
void start_on_gpu(const at::Tensor& on, const char* file, const std::string& kernel,
                  cuda::Launch launch, Arguments... arguments) {
  const c10::DeviceGuard current(on.device());
  gpu_kernels().start(file, kernel, launch, gpu_stream(), arguments...);
}

}  // namespace moe::kernels
