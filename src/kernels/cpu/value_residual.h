#pragma once

#include "kernels/cpu/vector.h"

namespace moe::kernels::cpu::MOE_LEVEL {

// The stage between the product that gives values and the heads: v = (1 - a) v + a v_first, where
// v_first are the values of the first block (Zhou et al. 2024, arXiv 2410.17897). Values of one
// panel or token lie together, `count` of them from `at` on.

template <class T>
inline void mix_values(const ValueResidual<T>& stage, Index at, Index count, T* values) {
  for (Index i = 0; stage.gives && i < count; ++i) stage.first[at + i] = values[i];
  if (!stage.mixes) return;
  const T a = stage.lambda, rest = T{1} - a;
  for (Index i = 0; i < count; ++i) {
    if (stage.own != nullptr) stage.own[at + i] = values[i];
    values[i] = rest * values[i] + a * stage.first[at + i];
  }
}

/// d, the gradient of what the heads read, becomes that of the block's own values; the first
/// block's get their part. Returns the part of the weight's gradient, in double: its terms nearly
/// cancel.
template <class T>
inline double mix_values_backward(const ValueResidual<T>& stage, Index at, Index count, T* d) {
  for (Index i = 0; stage.gives && i < count; ++i) d[i] += stage.d_first[at + i];
  if (!stage.mixes) return 0;
  const T a = stage.lambda, rest = T{1} - a;
  Vec<T> products{};
  for (Index i = 0; i < count; i += kLanes<T>) {  // whole panels: no part of a vector is left
    const Vec<T> g = load(d + i);
    products += g * (load(stage.first + at + i) - load(stage.own + at + i));
    Vec<T> sum = g * a;
    if (!stage.begins) sum += load(stage.d_first + at + i);
    store(stage.d_first + at + i, sum);
    store(d + i, g * rest);
  }
  return static_cast<double>(sum_of<T>(products));
}

}  // namespace moe::kernels::cpu::MOE_LEVEL
