#pragma once

#include <ATen/core/Tensor.h>
#include <torch/nn/module.h>
#include <torch/nn/pimpl.h>

#include <cstdint>

#include "moe/kernels/layers.h"
#include "moe/spec/model_spec.h"

namespace moe {

/// The norm before each sub-layer and before the head: (..., C) -> (..., C).
class NormImpl : public torch::nn::Module {
 public:
  NormImpl(std::int64_t width, const NormSpec& spec);
  at::Tensor forward(const at::Tensor& x);
  kernels::NormParameters tensors() const { return {weight_, bias_, spec_.eps, spec_.kind}; }

 private:
  NormSpec spec_;
  at::Tensor weight_, bias_;  // (C); bias undefined for none
};
TORCH_MODULE(Norm);

}  // namespace moe
