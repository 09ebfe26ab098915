#pragma once

#include "kernels/cpu/update_arguments.h"
#include "kernels/cpu/vector.h"

namespace moe::kernels::cpu::MOE_LEVEL {

/// Values [begin, end) of one update, each read and written once.
template <bool kCautious, class T>
void adamw_values(const AdamWUpdate<T>& update, Index begin, Index end) {
  T* __restrict parameters = update.parameters;
  const T* __restrict gradients = update.gradients;
  T* __restrict exp_avg = update.exp_avg;
  T* __restrict exp_avg_sq = update.exp_avg_sq;
  const T scale = static_cast<T>(update.gradient_scale), decay = static_cast<T>(update.decay);
  const T beta1 = static_cast<T>(update.beta1), rest1 = static_cast<T>(1 - update.beta1);
  const T beta2 = static_cast<T>(update.beta2), rest2 = static_cast<T>(1 - update.beta2);
  const T eps = static_cast<T>(update.eps), step_size = static_cast<T>(update.step_size);
  const T root_scale = static_cast<T>(update.root_scale);
  for (Index i = begin; i < end; ++i) {
    const T g = gradients[i] * scale;
    const T m = exp_avg[i] * beta1 + g * rest1, v = exp_avg_sq[i] * beta2 + g * g * rest2;
    exp_avg[i] = m;
    exp_avg_sq[i] = v;
    const T root = sizeof(T) == 4 ? static_cast<T>(__builtin_sqrtf(static_cast<float>(v)))
                                  : static_cast<T>(__builtin_sqrt(static_cast<double>(v)));
    if constexpr (kCautious) {
      const T p = parameters[i], step = step_size * m / (root * root_scale + eps);
      parameters[i] = p * (step * p >= 0 ? decay : T{1}) - step;
    } else {
      parameters[i] = parameters[i] * decay - step_size * m / (root * root_scale + eps);
    }
  }
}
template <class T>
void adamw_update(const AdamWUpdate<T>& update, Index begin, Index end) {
  if (update.cautious) return adamw_values<true>(update, begin, end);
  adamw_values<false>(update, begin, end);
}

/// Sum of the squares of values [0, count), in double: in float nine million squares lose digits.
template <class T>
double sum_of_squares(const T* values, Index count) {
  using Doubles = Vec<double>;
  typedef T Part __attribute__((vector_size(kLanes<double> * sizeof(T))));
  // From several places at once: one stream alone waits for memory.
  constexpr int kStreams = 8;
  Doubles sums[kStreams] = {};
  const Index stretch = count / kStreams / kLanes<double> * kLanes<double>;
  for (Index i = 0; i < stretch; i += kLanes<double>)
#pragma GCC unroll 8
    for (int j = 0; j < kStreams; ++j) {
      Part part;
      __builtin_memcpy(&part, values + j * stretch + i, sizeof part);
      const Doubles v = __builtin_convertvector(part, Doubles);
      sums[j] += v * v;
    }
  double total = 0;
  for (Index i = kStreams * stretch; i < count; ++i)
    total += static_cast<double>(values[i]) * static_cast<double>(values[i]);
  for (int j = 0; j < kStreams; ++j) total += sum_of<double>(sums[j]);
  return total;
}

}  // namespace moe::kernels::cpu::MOE_LEVEL
