#include "train/recording.h"

#ifdef MOE_CUDA
#include <ATen/cuda/CUDAGraph.h>
#include <c10/cuda/CUDAGuard.h>
#include <c10/cuda/CUDAStream.h>
#endif

namespace moe {

#ifdef MOE_CUDA

namespace {

class CudaGraph final : public Recording {
 public:
  CudaGraph(at::Device device, const std::function<void()>& action) {
    const c10::cuda::CUDAGuard on_device(device);
    // The default stream cannot be recorded. A pool's stream does not wait for it, which it need
    // not, since what is recorded does not run.
    const c10::cuda::CUDAStreamGuard on_stream(
        c10::cuda::getStreamFromPool(/*isHighPriority=*/false, device.index()));
    graph_.capture_begin();
    try {
      action();
    } catch (...) {
      graph_.capture_end();
      throw;
    }
    graph_.capture_end();
  }
  void repeat() override { graph_.replay(); }

 private:
  at::cuda::CUDAGraph graph_;
};

}  // namespace

bool Recording::is_possible(at::Device device) { return device.is_cuda(); }
std::unique_ptr<Recording> Recording::of(at::Device device, const std::function<void()>& action) {
  return std::make_unique<CudaGraph>(device, action);
}

#else

bool Recording::is_possible(at::Device /*device*/) { return false; }
std::unique_ptr<Recording> Recording::of(at::Device /*device*/,
                                         const std::function<void()>& /*action*/) {
  return {};
}

#endif

}  // namespace moe
