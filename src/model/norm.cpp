#include "moe/model/norm.h"

#include <ATen/ATen.h>

namespace moe {

NormImpl::NormImpl(std::int64_t width, const NormSpec& spec)
    : spec_(spec), weight_(register_parameter("weight", at::ones({width}))) {
  if (spec.bias) bias_ = register_parameter("bias", at::zeros({width}));
}

at::Tensor NormImpl::forward(const at::Tensor& x) {
  switch (spec_.kind) {
    case NormKind::layer:
      return at::layer_norm(x, weight_.sizes(), weight_, bias_, spec_.eps);
    case NormKind::rms:
      return x * (x.square().mean(-1, /*keepdim=*/true) + spec_.eps).rsqrt() * weight_;
  }
  TORCH_CHECK(false, "no such norm");
}

}  // namespace moe
