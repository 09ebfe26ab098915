#include "moe/kernels/flat_memory.h"

#include <ATen/ops/from_blob.h>
#include <ATen/ops/zeros.h>

#include <cstdlib>
#include <cstring>
#include <new>

#ifdef __linux__
#include <sys/mman.h>
#endif

namespace moe::kernels {

namespace {

constexpr std::size_t kLargePage = std::size_t{2} << 20U;  // of x86-64 and of ARM with 4 KiB pages

}  // namespace

at::Tensor flat_zeros(std::int64_t count, const at::TensorOptions& options) {
  const auto bytes = static_cast<std::size_t>(count) * options.dtype().itemsize();
  if (!options.device().is_cpu() || bytes < kLargePage) return at::zeros({count}, options);
  const auto rounded = (bytes + kLargePage - 1) / kLargePage * kLargePage;
  void* data = std::aligned_alloc(kLargePage, rounded);
  if (data == nullptr) throw std::bad_alloc();
#ifdef MADV_HUGEPAGE
  madvise(data, rounded, MADV_HUGEPAGE);  // a wish: refused, the pages are small
#endif
  std::memset(data, 0, rounded);
  return at::from_blob(
      data, {count}, [](void* memory) { std::free(memory); }, options);
}

}  // namespace moe::kernels
