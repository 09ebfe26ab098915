#include "moe/kernels/update_memory.h"

#include <ATen/ATen.h>

namespace moe::kernels {

void UpdateMemory::keep(const at::Tensor& kept, const at::Tensor& moved) const {
  kept.copy_(at::where((*this)[kIsSound].ne(0), moved, kept));
}

}  // namespace moe::kernels
