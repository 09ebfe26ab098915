#pragma once

#include "common.cuh"

// What stands between an expert's two products, after kernels/cpu/activation.h. A kind is a struct
// of the same name as there, for one value instead of a vector. What is kept is always its
// argument. Shapes: N rows of W values; the arguments of a gated kind are (N, 2 W), gates first.

namespace moe::kernels::cuda {

struct Relu {
  static constexpr bool kIsGated = false;
  template <class T>
  static __device__ T value(T x) {
    return x < 0 ? T{0} : x;  // NaN stays
  }
  template <class T>
  static __device__ T gradient(T x, T d_value) {
    return x <= 0 ? T{0} : d_value;
  }
};

/// x Phi(x) with Phi of the standard normal distribution.
struct Gelu {
  static constexpr bool kIsGated = false;
  template <class T>
  static __device__ T value(T x) {
    return x * phi(x);
  }
  template <class T>
  static __device__ T gradient(T x, T d_value) {
    constexpr T kDensity = static_cast<T>(0.39894228040143267794);  // 1 / sqrt(2 pi)
    return d_value * (phi(x) + x * (exp(x * x * static_cast<T>(-0.5)) * kDensity));
  }
  template <class T>
  static __device__ T phi(T x) {
    constexpr T kHalf = static_cast<T>(0.5), kRootHalf = static_cast<T>(0.70710678118654752440);
    return (erf(x * kRootHalf) + T{1}) * kHalf;
  }
};

struct Silu {
  static constexpr bool kIsGated = false;
  template <class T>
  static __device__ T value(T x) {
    return x * sigmoid(x);
  }
  template <class T>
  static __device__ T gradient(T x, T d_value) {
    const T s = sigmoid(x);
    return d_value * s * (x * (T{1} - s) + T{1});
  }
  template <class T>
  static __device__ T sigmoid(T x) {
    return T{1} / (exp(-x) + T{1});
  }
};

struct Relu2 {
  static constexpr bool kIsGated = false;
  template <class T>
  static __device__ T value(T x) {
    return x < 0 ? T{0} : x * x;
  }
  template <class T>
  static __device__ T gradient(T x, T d_value) {
    return x <= 0 ? T{0} : d_value * x * T{2};
  }
};

/// silu(x) times what lies beside it.
struct Swiglu {
  static constexpr bool kIsGated = true;
  template <class T>
  static __device__ T value(T x, T beside) {
    return Silu::value(x) * beside;
  }
  template <class T>
  static __device__ T gradient(T x, T beside, T d_value) {
    return Silu::gradient(x, d_value * beside);
  }
  template <class T>
  static __device__ T gradient_beside(T x, T d_value) {
    return Silu::value(x) * d_value;
  }
};

/// values (N, W) = F of x. Any grid, any block. Twin: activate.
template <class F, class T>
__global__ void activate(const T* x, Index rows, Index width, T* values) {
  for (Index i = grid_thread(); i < rows * width; i += grid_threads()) {
    if constexpr (F::kIsGated) {
      const T* mine = x + i / width * 2 * width + i % width;
      values[i] = F::value(mine[0], mine[width]);
    } else {
      values[i] = F::value(x[i]);
    }
  }
}

/// d_x, of x's shape, from d_values (N, W). Without gates d_x may be d_values. Any grid, any block.
/// Twin: activate_backward.
template <class F, class T>
__global__ void activate_backward(const T* x, const T* d_values, Index rows, Index width, T* d_x) {
  for (Index i = grid_thread(); i < rows * width; i += grid_threads()) {
    if constexpr (F::kIsGated) {
      const Index at = i / width * 2 * width + i % width;
      d_x[at] = F::gradient(x[at], x[at + width], d_values[i]);
      d_x[at + width] = F::gradient_beside(x[at], d_values[i]);
    } else {
      d_x[i] = F::gradient(x[i], d_values[i]);
    }
  }
}

}  // namespace moe::kernels::cuda
