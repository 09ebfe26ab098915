#pragma once

#include "guard.cuh"

// One step of AdamW over flat memory, and the norm of all gradients, after kernels/cpu/adamw.h.
// Shapes: P values.

namespace moe::kernels::cuda {

/// What stays from update to update.
struct AdamWConstants {
  double learning_rate_scale, beta1, beta2, eps, weight_decay;
  bool cautious;  // weights decay only where the update moves them towards 0
};

/// Flat memory, (P) each; moments and parameters are changed in place.
template <class T>
struct AdamWMemory {
  T* parameters;
  const T* gradients;
  T* exp_avg;
  T* exp_avg_sq;
};

/// What one step multiplies by, the same for all values.
template <class T>
struct AdamWFactors {
  T scale, decay, step_size, root_scale;
};

template <class T>
__device__ inline AdamWFactors<T> adamw_factors(const Update& update,
                                                const AdamWConstants& constants) {
  const double rate = update.learning_rate * constants.learning_rate_scale;
  return {static_cast<T>(update.gradient_scale),
          static_cast<T>(1 - rate * (update.decay_scale * constants.weight_decay)),
          static_cast<T>(rate / (1 - pow(constants.beta1, update.step))),
          static_cast<T>(1 / sqrt(1 - pow(constants.beta2, update.step)))};
}

/// Nothing moves in a refused update. Any grid, any block. Twin: adamw_update, with the
/// coefficients of kernels/adamw.cpp.
template <class T>
__global__ void adamw(AdamWMemory<T> memory, Index count, AdamWConstants constants,
                      const Update* update) {
  if (update->is_sound == 0) return;
  __shared__ AdamWFactors<T> factors;  // one thread takes the powers
  if (threadIdx.x == 0) factors = adamw_factors<T>(*update, constants);
  __syncthreads();
  const T beta1 = static_cast<T>(constants.beta1), rest1 = static_cast<T>(1 - constants.beta1);
  const T beta2 = static_cast<T>(constants.beta2), rest2 = static_cast<T>(1 - constants.beta2);
  const T eps = static_cast<T>(constants.eps);
  for (Index i = grid_thread(); i < count; i += grid_threads()) {
    const T g = memory.gradients[i] * factors.scale, p = memory.parameters[i];
    const T m = memory.exp_avg[i] * beta1 + g * rest1;
    const T v = memory.exp_avg_sq[i] * beta2 + g * g * rest2;
    memory.exp_avg[i] = m;
    memory.exp_avg_sq[i] = v;
    const T step = factors.step_size * m / (sqrt(v) * factors.root_scale + eps);
    const bool decays = !constants.cautious || step * p >= 0;
    memory.parameters[i] = p * (decays ? factors.decay : T{1}) - step;
  }
}

constexpr Index kNormBlock = 65536;  // values that one part sums up, as in kernels/adamw.cpp

/// parts (ceil(P / kNormBlock)): the sum of the squares of each stretch, in double. Grid: the
/// parts; block: any. Twin: sum_of_squares of a block.
template <class T>
__global__ void square_parts(const T* values, Index count, double* parts) {
  const Index first = blockIdx.x * kNormBlock;
  const Index end = first + kNormBlock < count ? first + kNormBlock : count;
  double sum = 0;
  for (Index i = first + threadIdx.x; i < end; i += blockDim.x) {
    const double value = static_cast<double>(values[i]);
    sum += value * value;
  }
  sum = block_sum(sum);
  if (threadIdx.x == 0) parts[blockIdx.x] = sum;
}

constexpr int kPartsAtOnce = 256;

/// sum (1) of the parts, one after another, as the CPU adds them. Grid: 1; block: kPartsAtOnce.
__global__ void sum_parts(const double* parts, Index count, double* sum) {
  __shared__ double mine[kPartsAtOnce];  // read by all, added up by one
  double total = 0;
  for (Index first = 0; first < count; first += kPartsAtOnce) {
    const Index i = first + threadIdx.x;
    mine[threadIdx.x] = i < count ? parts[i] : 0;
    __syncthreads();
    for (int j = 0; j < kPartsAtOnce && threadIdx.x == 0; ++j) total += mine[j];
    __syncthreads();
  }
  if (threadIdx.x == 0) *sum = total;
}

}  // namespace moe::kernels::cuda
