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
    case Activation::relu2:
      return x.relu().square();
    case Activation::swiglu: {
      const auto halves = x.chunk(2, -1);
      return at::silu(halves[0]) * halves[1];
    }
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
    case Activation::relu2:
      return d_value * x.relu() * 2;
    case Activation::swiglu: {
      const auto halves = x.chunk(2, -1);
      return at::cat(
          {at::silu_backward(d_value * halves[1], halves[0]), d_value * at::silu(halves[0])}, -1);
    }
  }
  TORCH_CHECK(false, "no such activation");
}

}  // namespace moe::kernels
