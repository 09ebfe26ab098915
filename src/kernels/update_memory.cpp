#include "moe/kernels/update_memory.h"

#include <ATen/ATen.h>

#include "kernels/gpu_update.h"

namespace moe::kernels {

void UpdateMemory::keep(const at::Tensor& kept, const at::Tensor& moved) const {
  kept.copy_(at::where((*this)[kIsSound].ne(0), moved, kept));
}

void judge_update(const at::Tensor& gradients, double max_norm, const UpdateFigures& figures,
                  const UpdateMemory& memory) {
  if (gradients.is_cuda()) return judge_on_gpu(gradients, max_norm, figures, memory);
  figures.norm.copy_(at::linalg_vector_norm(gradients, 2, {}, false, at::kDouble));
  memory[kGradientScale].copy_((max_norm / figures.norm).clamp_max(1));
  const auto is_sound = memory[kIsSound];
  is_sound.mul_(figures.loss.isfinite().logical_and_(figures.norm.isfinite()));
  figures.sound.add_(is_sound);
}

}  // namespace moe::kernels
