#include "kernels/gpu_draws.h"

#include <ATen/ATen.h>

#include <algorithm>

#include "kernels/cuda/arguments.h"
#include "kernels/gpu.h"
#include "moe/base/text.h"

namespace moe::kernels {

namespace {

constexpr std::int64_t kThreads = 256, kMostBlocks = 4096;  // of a grid: each thread takes turns

/// For (N, W) draws, four a thread at once.
cuda::Launch launch_for(const at::Tensor& out) {
  const auto fours = out.size(0) * ((out.size(1) + 3) / 4);
  const auto blocks = std::clamp<std::int64_t>((fours + kThreads - 1) / kThreads, 1, kMostBlocks);
  return {static_cast<std::uint32_t>(blocks), static_cast<std::uint32_t>(kThreads)};
}

cuda::DrawArguments arguments_of(const RowIds& rows, const at::Tensor& key, std::uint32_t site) {
  return {rows.sequence.const_data_ptr<std::int64_t>(),
          rows.position.const_data_ptr<std::int64_t>(),
          reinterpret_cast<const std::uint64_t*>(key.const_data_ptr<std::int64_t>()),  // NOLINT
          site};
}

/// (1): where the key lies, or a copy of it there.
at::Tensor key_on(const at::Tensor& out, const DrawKey& key) {
  if (key.memory != nullptr) return *key.memory;
  return at::full({1}, static_cast<std::int64_t>(key.key), out.options().dtype(at::kLong));
}

const char* type_name(const at::Tensor& out) {
  return out.scalar_type() == at::kDouble ? "double" : "float";
}

}  // namespace

void draw_mask_on_gpu(const RowIds& rows, double p, const DrawKey& key, const at::Tensor& out) {
  const auto key_memory = key_on(out, key);
  const cuda::DropoutArguments dropout{arguments_of(rows, key_memory, key.site), drop_threshold(p),
                                       1 / (1 - p)};
  start_on_gpu("draws.cuh", cat("draw_mask<", type_name(out), ">"), launch_for(out), dropout,
               out.size(0), out.size(1), out.mutable_data_ptr());
}

void draw_normals_on_gpu(const RowIds& rows, const DrawKey& key, const at::Tensor& out) {
  const auto key_memory = key_on(out, key);
  start_on_gpu("draws.cuh", cat("draw_normals<", type_name(out), ">"), launch_for(out),
               arguments_of(rows, key_memory, key.site), out.size(0), out.size(1),
               out.mutable_data_ptr());
}

}  // namespace moe::kernels
