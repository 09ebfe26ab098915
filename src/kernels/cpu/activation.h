#pragma once

#include "kernels/cpu/elementary.h"

namespace moe::kernels::cpu::MOE_LEVEL {

// The stage between an expert's two Linears. What is kept for backward is its argument, or, where
// that tells as much (kKeepsValue: f(f(x)) is f(x), and so are the slopes), its value. Another
// activation is a value of Activation, a struct like Relu (f, and the gradient of its argument from
// that of its value) or Swiglu, which reads two arguments, and a case of with_activation.

struct Relu {
  static constexpr bool kKeepsValue = true;
  template <class T>
  [[gnu::always_inline]] static Vec<T> value(Vec<T> x) {
    return x < Vec<T>{} ? Vec<T>{} : x;  // NaN stays
  }
  template <class T>
  [[gnu::always_inline]] static Vec<T> gradient(Vec<T> x, Vec<T> d_value) {
    return x <= Vec<T>{} ? Vec<T>{} : d_value;
  }
};

/// x Phi(x) with Phi of the standard normal distribution.
struct Gelu {
  static constexpr bool kKeepsValue = false;
  template <class T>
  [[gnu::always_inline]] static Vec<T> value(Vec<T> x) {
    return x * phi<T>(x);
  }
  template <class T>
  [[gnu::always_inline]] static Vec<T> gradient(Vec<T> x, Vec<T> d_value) {
    constexpr T kDensity = static_cast<T>(0.39894228040143267794);  // 1 / sqrt(2 pi)
    const Vec<T> density = exponential(x * x * T{-0.5}) * kDensity;
    return d_value * (phi<T>(x) + x * density);
  }
  template <class T>
  [[gnu::always_inline]] static Vec<T> phi(Vec<T> x) {
    constexpr T kRootHalf = static_cast<T>(0.70710678118654752440);
    return (error_function(x * kRootHalf) + T{1}) * T{0.5};
  }
};

struct Silu {
  static constexpr bool kKeepsValue = false;
  template <class T>
  [[gnu::always_inline]] static Vec<T> value(Vec<T> x) {
    return x * sigmoid<T>(x);
  }
  template <class T>
  [[gnu::always_inline]] static Vec<T> gradient(Vec<T> x, Vec<T> d_value) {
    const Vec<T> s = sigmoid<T>(x);
    return d_value * s * (x * (T{1} - s) + T{1});
  }
  /// 0 where e^-x is beyond what exponential gives in float.
  template <class T>
  [[gnu::always_inline]] static Vec<T> sigmoid(Vec<T> x) {
    const Vec<T> s = T{1} / (exponential(-x) + T{1});
    return x < Vec<T>{} - T{88} ? Vec<T>{} : s;
  }
};

struct Relu2 {
  static constexpr bool kKeepsValue = false;
  template <class T>
  [[gnu::always_inline]] static Vec<T> value(Vec<T> x) {
    return x < Vec<T>{} ? Vec<T>{} : x * x;
  }
  template <class T>
  [[gnu::always_inline]] static Vec<T> gradient(Vec<T> x, Vec<T> d_value) {
    return x <= Vec<T>{} ? Vec<T>{} : d_value * x * T{2};
  }
};

/// silu(x) times what lies beside it.
struct Swiglu {
  static constexpr bool kKeepsValue = false;
  template <class T>
  [[gnu::always_inline]] static Vec<T> value(Vec<T> x, Vec<T> beside) {
    return Silu::value<T>(x) * beside;
  }
  template <class T>
  [[gnu::always_inline]] static Vec<T> gradient(Vec<T> x, Vec<T> beside, Vec<T> d_value) {
    return Silu::gradient<T>(x, d_value * beside);
  }
  template <class T>
  [[gnu::always_inline]] static Vec<T> gradient_beside(Vec<T> x, Vec<T> d_value) {
    return Silu::value<T>(x) * d_value;
  }
};

template <class F>
inline constexpr bool kIsGated = false;
template <>
inline constexpr bool kIsGated<Swiglu> = true;

/// Calls use(f) with the struct of `kind`.
template <class Use>
[[gnu::always_inline]] inline void with_activation(Activation kind, const Use& use) {
  switch (kind) {
    case Activation::relu:
      return use(Relu{});
    case Activation::gelu:
      return use(Gelu{});
    case Activation::silu:
      return use(Silu{});
    case Activation::relu2:
      return use(Relu2{});
    case Activation::swiglu:
      return use(Swiglu{});
  }
  __builtin_unreachable();
}

inline bool keeps_value(Activation kind) {
  bool keeps = false;
  with_activation(kind, [&](auto f) { keeps = decltype(f)::kKeepsValue; });
  return keeps;
}

/// values = f(x), or f(x, beside) of a gated f; `count` of each, whole vectors. values may be x.
template <class T>
inline void activate(Activation kind, const T* x, const T* beside, Index count, T* values) {
  with_activation(
      kind, [&](auto f) __attribute__((always_inline)) {
        for (Index i = 0; i < count; i += kLanes<T>) {
          if constexpr (kIsGated<decltype(f)>)
            store(values + i, f.template value<T>(load(x + i), load(beside + i)));
          else
            store(values + i, f.template value<T>(load(x + i)));
        }
      });
}

/// values = f once more, unless they are x. Gradients of the values, d_beside, become those of x,
/// d, and of a gated f's `beside`, d_beside; otherwise d is d_beside.
template <class T>
inline void activate_backward(Activation kind, const T* x, const T* beside, Index count, T* d,
                              T* d_beside, T* values) {
  with_activation(
      kind, [&](auto f) __attribute__((always_inline)) {
        for (Index i = 0; i < count; i += kLanes<T>) {
          const Vec<T> argument = load(x + i), d_value = load(d_beside + i);
          if constexpr (kIsGated<decltype(f)>) {
            const Vec<T> other = load(beside + i);
            store(d + i, f.template gradient<T>(argument, other, d_value));
            store(d_beside + i, f.template gradient_beside<T>(argument, d_value));
            store(values + i, f.template value<T>(argument, other));
          } else {
            store(d + i, f.template gradient<T>(argument, d_value));
            if (values != x) store(values + i, f.template value<T>(argument));
          }
        }
      });
}

}  // namespace moe::kernels::cpu::MOE_LEVEL
