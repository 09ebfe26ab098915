#include "moe/kernels/activation.h"

#include <ATen/ATen.h>

namespace moe::kernels {

at::Tensor activate(Activation activation, const at::Tensor& x) {
  switch (activation) {
    case Activation::relu:
      return x.relu();
  }
  TORCH_CHECK(false, "no such activation");
}

at::Tensor activation_gradient(Activation activation, const at::Tensor& x,
                               const at::Tensor& d_value) {
  switch (activation) {
    case Activation::relu:
      return d_value * x.gt(0);
  }
  TORCH_CHECK(false, "no such activation");
}

}  // namespace moe::kernels
