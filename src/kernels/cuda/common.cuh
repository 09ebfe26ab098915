#pragma once

// What the CUDA kernels share (docs/adr/0053). This is text: NVRTC compiles it for the GPU that is
// there, g++ compiles it for the tests. So it includes nothing but its neighbours, and uses of CUDA
// only what tests/kernels/cuda/cuda_on_cpu.h knows. Blocks are whole warps in one dimension, and
// all threads of a block come to each of its barriers.

namespace moe::kernels::cuda {

using Index = long long;         // std::int64_t elsewhere
using Word = unsigned int;       // 32 random bits
using Key = unsigned long long;  // of a random stream

constexpr int kWarp = 32;
constexpr Word kAllLanes = 0xFFFFFFFFU;
constexpr int kPanel = 16;  // slots of a panel, as in moe/kernels/slot_table.h

constexpr __host__ __device__ Index pieces(Index count, Index size) {
  return (count + size - 1) / size;
}

/// A grid of any size serves any number of items:
/// for (Index i = grid_thread(); i < count; i += grid_threads()).
__device__ inline Index grid_thread() { return Index{blockIdx.x} * blockDim.x + threadIdx.x; }
__device__ inline Index grid_threads() { return Index{gridDim.x} * blockDim.x; }
/// The same by warps: an item is shared by the lanes of one.
__device__ inline Index grid_warp() { return grid_thread() / kWarp; }
__device__ inline Index grid_warps() { return grid_threads() / kWarp; }
__device__ inline int lane_number() { return static_cast<int>(threadIdx.x % kWarp); }

/// The sum over a warp in one order, the same bits in each lane: two lanes that meet add the same
/// two values.
template <class T>
__device__ inline T warp_sum(T value) {
  for (int step = kWarp / 2; step > 0; step /= 2) value += __shfl_xor_sync(kAllLanes, value, step);
  return value;
}

/// The largest of a warp, in each lane; NaN is larger than nothing.
template <class T>
__device__ inline T warp_max(T value) {
  for (int step = kWarp / 2; step > 0; step /= 2) {
    const T other = __shfl_xor_sync(kAllLanes, value, step);
    value = other > value ? other : value;
  }
  return value;
}

/// Joins one value of each warp, in the order of the warps, for all threads of the block.
template <class T, class Join>
__device__ inline T join_warps(T mine, const Join& join) {
  __shared__ T parts[kWarp];
  if (lane_number() == 0) parts[threadIdx.x / kWarp] = mine;
  __syncthreads();
  T all = parts[0];
  for (Word w = 1; w < blockDim.x / kWarp; ++w) all = join(all, parts[w]);
  __syncthreads();  // parts may be written again
  return all;
}

/// The sum over a block in one order, for all its threads.
template <class T>
__device__ inline T block_sum(T value) {
  return join_warps(warp_sum(value), [](T a, T b) { return a + b; });
}

/// The largest value of a block, for all its threads.
template <class T>
__device__ inline T block_max(T value) {
  return join_warps(warp_max(value), [](T a, T b) { return b > a ? b : a; });
}

}  // namespace moe::kernels::cuda
