#include "kernels/gpu.h"

#include <stdexcept>

#ifdef MOE_CUDA
#include <c10/cuda/CUDAStream.h>

#include <map>
#include <mutex>
#endif

namespace moe::kernels {

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
