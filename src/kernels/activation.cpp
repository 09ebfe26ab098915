#include "moe/kernels/activation.h"

#include <ATen/ATen.h>

namespace moe::kernels {

at::Tensor activate(Activation activation, const at::Tensor& x) {
  switch (activation) {
    case Activation::relu:
      return x.relu();
    case Activation::gelu:
      return at::gelu(x);
    case Activation::silu:
      return at::silu(x);
  }
  TORCH_CHECK(false, "no such activation");
}

at::Tensor activation_gradient(Activation activation, const at::Tensor& x,
                               const at::Tensor& d_value) {
  switch (activation) {
    case Activation::relu:
      return d_value * x.gt(0);
    case Activation::gelu:
      return at::gelu_backward(d_value, x);
    case Activation::silu:
      return at::silu_backward(d_value, x);
  }
  TORCH_CHECK(false, "no such activation");
}

}  // namespace moe::kernels
