// The harness itself: what it must notice, and what it must not mistake for a fault.

#include "kernels/cuda/common.cuh"
#include "orders.h"

namespace moe::kernels::cuda {
namespace {

using cuda_on_cpu::launch;

constexpr unsigned kThreads = 128;

__global__ void sum_of_block(const float* from, float* to) {
  const float sum = block_sum(from[grid_thread()]);
  to[grid_thread()] = sum;
}

/// The reverse of 128 values through shared memory, with a barrier or without.
template <bool kHasBarrier>
__global__ void reverse(const float* from, float* to) {
  __shared__ float values[kThreads];
  values[threadIdx.x] = from[grid_thread()];
  if (kHasBarrier) __syncthreads();
  to[grid_thread()] = values[kThreads - 1 - threadIdx.x];
  __syncthreads();
}

/// Two sums through the same memory, with a barrier between them or without.
template <bool kHasBarrier>
__global__ void two_sums(const float* from, float* to) {
  __shared__ float parts[kThreads / kWarp];
  float sum = 0;
  for (int i = 0; i < 2; ++i) {
    const float mine = warp_sum(from[2 * threadIdx.x + i]);
    if (lane_number() == 0) parts[threadIdx.x / kWarp] = mine;
    __syncthreads();
    for (const float part : parts) sum += part;
    if (kHasBarrier) __syncthreads();
  }
  to[threadIdx.x] = sum;
}

/// One lane's word for the others, with a barrier of the warp or without.
template <bool kHasBarrier>
__global__ void tell_warp(float* told, float* to) {
  if (lane_number() == 0) told[grid_warp()] = static_cast<float>(grid_warp() + 1);
  if (kHasBarrier) __syncwarp();
  to[grid_thread()] = told[grid_warp()];
}

__global__ void half_of_a_block_waits() {
  if (threadIdx.x < blockDim.x / 2) __syncthreads();
}

__global__ void add_to_one(float* to) { *to = *to / 2 + static_cast<float>(grid_thread()); }

template <bool kHasBarrier>
auto reversed(unsigned seed) {
  const auto from = random_values<float>(4 * kThreads, 3);
  auto to = unwritten<float>(4 * kThreads);
  launch(4, kThreads, seed, [&] { reverse<kHasBarrier>(from.data(), to.data()); });
  return to;
}

template <bool kHasBarrier>
auto summed_twice(unsigned seed) {
  const auto from = random_values<float>(2 * kThreads, 3);
  auto to = unwritten<float>(kThreads);
  launch(1, kThreads, seed, [&] { two_sums<kHasBarrier>(from.data(), to.data()); });
  return to;
}

template <bool kHasBarrier>
auto told(unsigned seed) {
  auto words = unwritten<float>(kThreads / kWarp), to = unwritten<float>(kThreads);
  launch(1, kThreads, seed, [&] { tell_warp<kHasBarrier>(words.data(), to.data()); });
  return to;
}

TEST(CudaOnCpu, AKernelWithItsBarriersGivesTheSameBitsInEveryOrder) {
  const auto from = random_values<float>(4 * kThreads, 3);
  const auto to = in_every_order(reversed<true>);
  for (std::size_t i = 0; i < from.size(); ++i)
    EXPECT_EQ(to[i], from[i / kThreads * kThreads + kThreads - 1 - i % kThreads]);
  EXPECT_EQ(in_every_order(told<true>).back(), kThreads / kWarp);
}

TEST(CudaOnCpu, AMissingBarrierOfTheBlockIsNoticed) {
  EXPECT_EQ(orders_that_differ(reversed<false>), kOrders - 1);
}

TEST(CudaOnCpu, AWarpThatIsAheadOfOthersForWantOfABarrierIsNoticed) {
  EXPECT_EQ(orders_that_differ(summed_twice<true>), 0U);
  EXPECT_GT(orders_that_differ(summed_twice<false>), 0U);
}

TEST(CudaOnCpu, AMissingBarrierOfTheWarpIsNoticed) {
  EXPECT_EQ(orders_that_differ(told<false>), kOrders - 1);
}

TEST(CudaOnCpu, ASumThatDependsOnTheOrderOfThreadsIsNoticed) {
  const auto run = [](unsigned seed) {
    std::vector<float> sum{0};
    launch(2, kThreads, seed, [&] { add_to_one(sum.data()); });
    return sum;
  };
  EXPECT_GT(orders_that_differ(run), 0U);
}

TEST(CudaOnCpu, ABarrierThatNotAllThreadsComeToIsAnError) {
  EXPECT_THROW(launch(1, kThreads, 1, half_of_a_block_waits), std::logic_error);
}

TEST(CudaOnCpu, BlocksAreWholeWarps) {
  EXPECT_THROW(launch(1, 33, 1, [] {}), std::logic_error);
  EXPECT_THROW(launch(1, 2048, 1, [] {}), std::logic_error);
}

__global__ void write_at(float* to, Index place) { to[place] = 1; }
__global__ void write_shared_at(Index place) {
  __shared__ float values[kThreads];
  write_at(values, place);
}

TEST(CudaOnCpu, UnderTheAddressSanitizerAWriteBesideMemoryIsNoticed) {
#ifdef __SANITIZE_ADDRESS__
  std::vector<float> to(kThreads);
  launch(1, kThreads, 1, [&] { write_at(to.data(), threadIdx.x); });
  EXPECT_DEATH(launch(1, kThreads, 1, [&] { write_at(to.data(), threadIdx.x + 1); }),
               "heap-buffer-overflow");
  launch(1, kThreads, 1, [&] { write_shared_at(threadIdx.x); });
  EXPECT_DEATH(launch(1, kThreads, 1, [&] { write_shared_at(threadIdx.x + 1); }),
               "global-buffer-overflow|insufficient space");
#else
  GTEST_SKIP() << "built without the address sanitizer";
#endif
}

TEST(CudaOnCpu, ABlockSumsUpTheSameForEachOfItsThreads) {
  const auto from = random_values<float>(3 * kThreads, 5);
  const auto sums = in_every_order([&](unsigned seed) {
    auto to = unwritten<float>(3 * kThreads);
    launch(3, kThreads, seed, [&] { sum_of_block(from.data(), to.data()); });
    return to;
  });
  for (std::size_t i = 0; i < sums.size(); ++i) {
    double sum = 0;
    for (std::size_t t = 0; t < kThreads; ++t) sum += from[i / kThreads * kThreads + t];
    EXPECT_NEAR(sums[i], sum, kNear<float> * kThreads);
  }
}

TEST(CudaOnCpu, ABlockFindsItsLargestValue) {
  const auto from = random_values<float>(kThreads, 5);
  std::vector<float> to(kThreads);
  launch(1, kThreads, 1, [&] { to[threadIdx.x] = block_max(from[threadIdx.x]); });
  for (const float value : to) EXPECT_EQ(value, *std::max_element(from.begin(), from.end()));
}

}  // namespace
}  // namespace moe::kernels::cuda
