#include "moe/model/short_conv.h"

#include <ATen/ATen.h>

namespace moe {

ShortConvImpl::ShortConvImpl(std::int64_t width, std::int64_t taps)
    : weight_(register_parameter("weight", at::zeros({width, taps}))) {}

at::Tensor ShortConvImpl::forward(const at::Tensor& x, at::Tensor* recent) {
  const auto time = x.size(1), taps = weight_.size(1);
  const bool follows = recent != nullptr && recent->defined();
  const auto before = follows ? *recent : at::zeros({x.size(0), taps - 1, x.size(2)}, x.options());
  const auto rows = at::cat({before, x}, 1);  // (B, k - 1 + T, C)
  if (recent != nullptr) *recent = rows.narrow(1, time, taps - 1).contiguous();
  auto y = x;
  for (std::int64_t lag = 0; lag < taps; ++lag)
    y = y + weight_.select(1, lag) * rows.narrow(1, taps - 1 - lag, time);
  return y;
}

}  // namespace moe
