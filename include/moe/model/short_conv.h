#pragma once

#include <ATen/core/Tensor.h>
#include <torch/nn/module.h>
#include <torch/nn/pimpl.h>

#include <cstdint>

namespace moe {

/// A residual depthwise convolution over the last k positions, as after a norm (Allen-Zhu 2025,
/// arXiv 2512.17351, Canon-A and -C): y_t = x_t + sum over j < k of w_j * x_{t-j}, channel by
/// channel, where positions before the first are 0. (B, T, C) -> (B, T, C).
class ShortConvImpl : public torch::nn::Module {
 public:
  ShortConvImpl(std::int64_t width, std::int64_t taps);
  /// `recent`, if given, holds the k - 1 rows before x, (B, k - 1, C), or is undefined where x is
  /// the beginning; afterwards it holds those before what comes next.
  at::Tensor forward(const at::Tensor& x, at::Tensor* recent = nullptr);
  const at::Tensor& weight() const { return weight_; }

 private:
  at::Tensor weight_;  // (C, k): column j weighs the position j before
};
TORCH_MODULE(ShortConv);

}  // namespace moe
