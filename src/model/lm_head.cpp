#include "moe/model/lm_head.h"

#include <ATen/ATen.h>

namespace moe {

LmHeadImpl::LmHeadImpl(const ModelSpec& spec, const at::Tensor& token_table)
    : weight_(spec.tied ? token_table
                        : register_parameter("weight", at::empty({spec.vocab, spec.width}))) {
  if (spec.bias) bias_ = register_parameter("bias", at::empty({spec.vocab}));
}

at::Tensor LmHeadImpl::forward(const at::Tensor& x) {
  return bias_.defined() ? at::linear(x, weight_, bias_) : at::linear(x, weight_);
}

}  // namespace moe
