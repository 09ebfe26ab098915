#include "kernels/gpu_draws.h"

#include <ATen/ATen.h>

#include "kernels/cuda/arguments.h"
#include "kernels/gpu.h"
#include "moe/base/text.h"

namespace moe::kernels {

namespace {

/// For (N, W) draws, four a thread at once.
cuda::Launch launch_for(const at::Tensor& out) {
  return gpu_launch(out.size(0) * ((out.size(1) + 3) / 4));
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

}  // namespace

void draw_mask_on_gpu(const RowIds& rows, double p, const DrawKey& key, const at::Tensor& out) {
  const auto key_memory = key_on(out, key);
  const cuda::DropoutArguments dropout{arguments_of(rows, key_memory, key.site), drop_threshold(p),
                                       1 / (1 - p)};
  start_on_gpu(out, "draws.cuh", cat("draw_mask<", gpu_type(out), ">"), launch_for(out), dropout,
               out.size(0), out.size(1), out.mutable_data_ptr());
}

void draw_normals_on_gpu(const RowIds& rows, const DrawKey& key, const at::Tensor& out) {
  const auto key_memory = key_on(out, key);
  start_on_gpu(out, "draws.cuh", cat("draw_normals<", gpu_type(out), ">"), launch_for(out),
               arguments_of(rows, key_memory, key.site), out.size(0), out.size(1),
               out.mutable_data_ptr());
}

}  // namespace moe::kernels
