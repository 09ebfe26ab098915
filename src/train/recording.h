#pragma once

#include <ATen/core/Tensor.h>

#include <functional>
#include <memory>

namespace moe {

/// What a device was asked to do once and can do again by one call, reading and writing the same
/// memory: a CUDA graph.
class Recording {
 public:
  virtual ~Recording() = default;
  virtual void repeat() = 0;
};

/// Records what a device is asked to do. All recordings of one share a stream and the memory of
/// what they make on the way: they are repeated one at a time, and nothing that was made within one
/// may be used after it.
class Recorder {
 public:
  virtual ~Recorder() = default;

  /// Does what is recorded later, so that what is made once (workspaces of libraries, kernels,
  /// caches) is there: in a recording it could not be made.
  virtual void warm_up(const std::function<void()>& action) = 0;
  /// Records what `action` starts, without doing it.
  virtual std::unique_ptr<Recording> record(const std::function<void()>& action) = 0;

  /// Of `device`; null where this binary can record nothing there.
  static std::unique_ptr<Recorder> on(at::Device device);
};

}  // namespace moe
