#pragma once

#include <ATen/ops/zeros.h>

#include <algorithm>

#include "kernels/layer_call.h"

namespace moe::kernels {

// What a layer call hands its short convolution. `weight` (C, k), undefined for none; `recent`
// (B, k, padded(C)) as RecentRows has them.

template <class T>
cpu::ShortConv<T> conv_arguments(const at::Tensor& weight, std::int64_t time) {
  cpu::ShortConv<T> conv;
  conv.taps = weight.defined() ? weight.size(1) : 0;
  conv.time = time;
  return conv;
}

/// Of so many tokens of width C; where `rows` are given (a step's) no other room is taken for them.
/// Returns the room for the weight, which turn_weight fills.
template <class T>
T* lay_out_conv(cpu::ShortConv<T>& conv, std::int64_t tokens, std::int64_t width, Memory& memory) {
  if (conv.taps == 0) return nullptr;
  if (conv.rows == nullptr) conv.rows = memory.values<T>(tokens * cpu::padded(width));
  auto* turned = memory.values<T>(conv.taps * cpu::padded(width));
  conv.weight = turned;
  return turned;
}
/// Of backward: `tasks` parts of the weight's gradient.
template <class T>
void lay_out_conv_parts(cpu::ShortConv<T>& conv, std::int64_t tasks, std::int64_t width,
                        Memory& memory) {
  if (conv.taps > 0) conv.parts = memory.values<T>(tasks * conv.taps * cpu::padded(width));
}

/// weight (C, k) -> (k, padded(C)), so that channels lie side by side.
template <class T>
void turn_weight(const at::Tensor& weight, T* turned) {
  if (!weight.defined()) return;
  const auto width = weight.size(0), taps = weight.size(1), stride = cpu::padded(width);
  const auto* from = weight.const_data_ptr<T>();
  std::fill_n(turned, taps * stride, T{0});
  for (std::int64_t c = 0; c < width; ++c)
    for (std::int64_t j = 0; j < taps; ++j) turned[j * stride + c] = from[c * taps + j];
}

/// Points at `recent` for a step: the oldest row of each sequence goes, and the last is to be
/// written.
template <class T>
void continue_from(RecentRows& recent, std::int64_t sequences, std::int64_t width,
                   cpu::ShortConv<T>& conv) {
  const auto size = conv.taps * cpu::padded(width);
  TORCH_CHECK(recent.sizes() == at::IntArrayRef({sequences, conv.taps, cpu::padded(width)}) &&
                  conv.time == 1,
              "rows ", recent.sizes(), " of a convolution are continued one token at a time");
  conv.past = conv.taps - 1;
  conv.rows = recent.template mutable_data_ptr<T>();
  for (std::int64_t n = 0; n < sequences; ++n) {
    auto* rows = conv.rows + n * size;
    std::copy(rows + cpu::padded(width), rows + size, rows);
  }
}

/// The last rows of each window, zeros in front of a short one.
template <class T>
RecentRows recent_of(const cpu::ShortConv<T>& conv, const at::Tensor& x) {
  const auto windows = x.size(0), stride = cpu::padded(x.size(2));
  const auto count = std::min(conv.taps, conv.time);
  auto recent = at::zeros({windows, conv.taps, stride}, x.options());
  auto* to = recent.template mutable_data_ptr<T>();
  for (std::int64_t n = 0; n < windows; ++n)
    std::copy_n(conv.rows + ((n + 1) * conv.time - count) * stride, count * stride,
                to + ((n + 1) * conv.taps - count) * stride);
  return recent;
}

}  // namespace moe::kernels
