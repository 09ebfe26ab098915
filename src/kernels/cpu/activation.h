#pragma once

#include "kernels/cpu/vector.h"

namespace moe::kernels::cpu::MOE_LEVEL {

/// The experts' activation: its value, and the gradient of its argument from that of its value and
/// the value itself. Another activation is another struct like this.
struct Relu {
  template <class T>
  [[gnu::always_inline]] static Vec<T> value(Vec<T> x) {
    return x > Vec<T>{} ? x : Vec<T>{};
  }
  template <class T>
  [[gnu::always_inline]] static Vec<T> gradient(Vec<T> d_value, Vec<T> value) {
    return value > Vec<T>{} ? d_value : Vec<T>{};
  }
};

}  // namespace moe::kernels::cpu::MOE_LEVEL
