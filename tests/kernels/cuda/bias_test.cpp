// Biases and their gradients on the device, against loops in double.

#include "kernels/cuda/bias.cuh"

#include "kernels/cuda/sums.cuh"
#include "orders.h"

namespace moe::kernels::cuda {
namespace {

using cuda_on_cpu::launch;

constexpr unsigned kBiasGrid = 3, kBiasThreads = 64;
constexpr std::pair<Index, Index> kBiasShapes[] = {{1, 1}, {64, 5}, {201, 37}};  // N, W

/// Experts' panels: some have none, the first and the last, too; one has more than a warp has
/// lanes. What lies behind them all belongs to nobody.
constexpr Index kBiasWidth = 37, kBiasPanels = 42;
const std::vector<int> kFirstPanel{0, 0, 2, 2, 3, 38, 39, 39};
constexpr int kBiasExperts = 7;
constexpr Index kBiasPlaces = kBiasPanels * kPanel;

Index expert_of(Index place) {
  Index e = 0;
  while (place / kPanel >= kFirstPanel[at(e + 1)]) ++e;
  return e;
}

template <class T>
class CudaBias : public ::testing::Test {};
TYPED_TEST_SUITE(CudaBias, FloatTypes);

TYPED_TEST(CudaBias, AGradientIsTheSumOverRows) {
  for (const auto& [rows, width] : kBiasShapes) {
    const auto values = random_values<TypeParam>(rows * width, 1);
    const Index stretches = pieces(rows, kBiasRows);
    const auto got = in_every_order([&, rows = rows, width = width](unsigned seed) {
      auto parts = unwritten<double>(stretches * width);
      auto to = unwritten<TypeParam>(width);
      launch(kBiasGrid, kBiasThreads, seed,
             [&] { column_parts(values.data(), rows, width, parts.data()); });
      launch(kBiasGrid, kBiasThreads, seed, [&] {
        sum_stretches(parts.data(), stretches, width, width, /*adds=*/false, to.data());
      });
      return to;
    });
    std::vector<double> want(at(width));
    for (Index i = 0; i < rows * width; ++i)
      want[at(i % width)] += static_cast<double>(values[at(i)]);
    expect_near(got, want, kNear<TypeParam>);
  }
}

TYPED_TEST(CudaBias, APlaceGetsTheBiasOfTheExpertWhosePanelItIsIn) {
  const auto bias = random_values<TypeParam>(kBiasExperts * kBiasWidth, 1);
  const auto values = random_values<TypeParam>(kBiasPlaces * kBiasWidth, 2);
  const auto got = in_every_order([&](unsigned seed) {
    auto to = values;
    launch(kBiasGrid, kBiasThreads, seed, [&] {
      add_expert_bias(kFirstPanel.data(), kBiasExperts, kBiasWidth, bias.data(), to.data());
    });
    return to;
  });
  auto want = values;
  for (Index i = 0; i < kFirstPanel.back() * kPanel * kBiasWidth; ++i)
    want[at(i)] += bias[at(expert_of(i / kBiasWidth) * kBiasWidth + i % kBiasWidth)];
  EXPECT_TRUE(same_bits(got, want));
}

TYPED_TEST(CudaBias, AnExpertsGradientIsTheSumOverItsPlaces) {
  const auto d_values = random_values<TypeParam>(kBiasPlaces * kBiasWidth, 1);
  const auto there = random_values<TypeParam>(kBiasExperts * kBiasWidth, 2);
  for (const bool adds : {false, true}) {
    const auto got = in_every_order([&](unsigned seed) {
      auto parts = unwritten<double>(kFirstPanel.back() * kBiasWidth);
      auto to = there;
      launch(kBiasGrid, kBiasThreads, seed, [&] {
        expert_bias_parts(kFirstPanel.data(), kBiasExperts, kBiasWidth, d_values.data(),
                          parts.data());
      });
      launch(kBiasGrid, kBiasThreads, seed, [&] {
        expert_bias_gradients(kFirstPanel.data(), kBiasExperts, kBiasWidth, parts.data(), adds,
                              to.data());
      });
      return to;
    });
    std::vector<double> want(there.size());
    if (adds) want.assign(there.begin(), there.end());
    for (Index i = 0; i < kFirstPanel.back() * kPanel * kBiasWidth; ++i)
      want[at(expert_of(i / kBiasWidth) * kBiasWidth + i % kBiasWidth)] +=
          static_cast<double>(d_values[at(i)]);
    expect_near(got, want, 4 * kNear<TypeParam>);  // of 560 values of either sign
  }
}

}  // namespace
}  // namespace moe::kernels::cuda
