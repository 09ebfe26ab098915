#pragma once

#include <span>
#include <string_view>

namespace moe::kernels {

/// A file of src/kernels/cuda (docs/adr/0053). Both end with a 0, as NVRTC wants them.
struct CudaText {
  std::string_view name;  // "norm.cuh", by which others include it
  std::string_view text;
};

/// All of them, sorted by name; CMake writes this function (moe_texts of cmake/Room.cmake).
std::span<const CudaText> cuda_texts();

}  // namespace moe::kernels
