#pragma once

#include <ATen/core/Tensor.h>
#include <torch/nn/module.h>
#include <torch/nn/pimpl.h>

#include "moe/kernels/layers.h"
#include "moe/spec/model_spec.h"

namespace moe {

/// The last Linear: (..., C) -> (..., V). Of a tied model its weight is the token table's (Press
/// and Wolf 2017, arXiv 1608.05859).
class LmHeadImpl : public torch::nn::Module {
 public:
  /// `token_table` (V, C) is not registered a second time.
  LmHeadImpl(const ModelSpec& spec, const at::Tensor& token_table);
  at::Tensor forward(const at::Tensor& x);
  kernels::LinearParameters tensors() const { return {weight_, bias_}; }

 private:
  at::Tensor weight_, bias_;  // (V, C), (V); bias undefined for none
};
TORCH_MODULE(LmHead);

}  // namespace moe
