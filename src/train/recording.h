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

  /// Whether this binary can record what `device` does.
  static bool is_possible(at::Device device);
  /// Of what `action` starts on `device`, without doing it. What is made once (workspaces of
  /// libraries, caches) must be there: it was started before.
  static std::unique_ptr<Recording> of(at::Device device, const std::function<void()>& action);
};

}  // namespace moe
