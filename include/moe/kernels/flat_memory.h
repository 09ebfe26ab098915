#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>

namespace moe::kernels {

/// (count) zeros that live long and are walked from end to end: parameters, gradients, moments. On
/// the CPU in whole large pages where the system gives them on request (Linux: madvise), so that a
/// walk misses fewer address translations; elsewhere as libtorch allocates. Throws std::bad_alloc
/// when there is no memory, there c10::Error.
at::Tensor flat_zeros(std::int64_t count, const at::TensorOptions& options);

}  // namespace moe::kernels
