#include "kernels/gpu.h"

#include <algorithm>
#include <stdexcept>

#ifdef MOE_CUDA
#include <c10/cuda/CUDAStream.h>

#include <map>
#include <mutex>
#endif

namespace moe::kernels {

cuda::Launch gpu_launch(std::int64_t items) {
  constexpr std::int64_t kMostBlocks = 4096;
  const auto blocks =
      std::clamp<std::int64_t>((items + kGpuThreads - 1) / kGpuThreads, 1, kMostBlocks);
  return {static_cast<std::uint32_t>(blocks), kGpuThreads};
}

const char* gpu_type(const at::Tensor& values) {
  return values.scalar_type() == at::kDouble ? "double" : "float";
}

#ifdef MOE_CUDA

cuda::Kernels& gpu_kernels() {
  static std::mutex mutex;
  static std::map<c10::DeviceIndex, cuda::Kernels> by_gpu;
  const std::lock_guard lock(mutex);
  return by_gpu.try_emplace(c10::cuda::current_device()).first->second;
}
void* gpu_stream() { return c10::cuda::getCurrentCUDAStream().stream(); }

#else

namespace {
[[noreturn]] void refuse() { throw std::logic_error("this binary was built without CUDA"); }
}  // namespace

cuda::Kernels& gpu_kernels() { refuse(); }
void* gpu_stream() { refuse(); }

#endif

}  // namespace moe::kernels
