#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>

namespace moe::kernels {

/// (count) zeros that live long and are walked from end to end: parameters, gradients, moments.
/// From 2 MiB on the CPU they lie in whole large pages where the system gives them on request
/// (Linux: madvise), so that a walk misses fewer address translations. Without memory throws
/// std::bad_alloc, or c10::Error where libtorch allocates.
at::Tensor flat_zeros(std::int64_t count, const at::TensorOptions& options);

}  // namespace moe::kernels
