#include "train/recording.h"

#ifdef MOE_CUDA
#include <ATen/cuda/CUDAGraph.h>
#include <c10/core/Event.h>
#include <c10/cuda/CUDACachingAllocator.h>
#include <c10/cuda/CUDAFunctions.h>
#include <c10/cuda/CUDAGuard.h>
#include <c10/cuda/CUDAStream.h>

#include <exception>
#endif

namespace moe {

#ifdef MOE_CUDA

namespace {

class CudaGraph final : public Recording {
 public:
  CudaGraph(const std::function<void()>& action, at::MempoolId_t pool) {
    graph_.capture_begin(pool);
    try {
      action();
    } catch (...) {
      end_quietly();
      throw;
    }
    graph_.capture_end();
  }
  void repeat() override { graph_.replay(); }

 private:
  /// What went wrong is told by whoever met it first.
  void end_quietly() {
    try {
      graph_.capture_end();
    } catch (const std::exception&) {
    }
  }

  at::cuda::CUDAGraph graph_;
};

/// What comes next on `later` waits for what `earlier` has been asked so far.
void put_behind(const c10::Stream& earlier, const c10::Stream& later) {
  c10::Event event(c10::DeviceType::CUDA);
  event.record(earlier);
  event.block(later);
}

class CudaRecorder final : public Recorder {
 public:
  explicit CudaRecorder(at::Device device) : device_(device) {}

  void warm_up(const std::function<void()>& action) override {
    const c10::cuda::CUDAGuard on_device(device_);
    const auto usual = c10::cuda::getCurrentCUDAStream();
    put_behind(usual, stream_);
    {
      const c10::cuda::CUDAStreamGuard on_stream(stream_);
      action();
    }
    put_behind(stream_, usual);
  }

  std::unique_ptr<Recording> record(const std::function<void()>& action) override {
    const c10::cuda::CUDAGuard on_device(device_);
    // What the warm-up left in the allocator's cache is no memory of the graph's, and while one is
    // recorded nothing is given back.
    c10::cuda::device_synchronize();
    c10::cuda::CUDACachingAllocator::emptyCache();
    const c10::cuda::CUDAStreamGuard on_stream(stream_);
    return std::make_unique<CudaGraph>(action, pool_);
  }

 private:
  at::Device device_;
  // The default stream cannot be recorded.
  c10::cuda::CUDAStream stream_ =
      c10::cuda::getStreamFromPool(/*isHighPriority=*/false, device_.index());
  at::MempoolId_t pool_ = at::cuda::graph_pool_handle();
};

}  // namespace

std::unique_ptr<Recorder> Recorder::on(at::Device device) {
  return device.is_cuda() ? std::make_unique<CudaRecorder>(device) : nullptr;
}

#else

std::unique_ptr<Recorder> Recorder::on(at::Device /*device*/) { return nullptr; }

#endif

}  // namespace moe
