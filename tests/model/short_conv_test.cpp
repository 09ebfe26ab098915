// The short convolution against PyTorch's, whose weights are in the reverse order, and in pieces;
// the layers that have one in their kernels are held to it by the tests of all variants.

#include "moe/model/short_conv.h"

#include <ATen/ATen.h>
#include <ATen/core/grad_mode.h>
#include <gtest/gtest.h>

#include <vector>

#include "tests/support/golden.h"
#include "tests/support/tiny_model.h"
#include "tests/support/tolerance.h"

namespace moe {
namespace {

using namespace test;

constexpr std::int64_t kChannels = 5;

ShortConv random_conv(std::int64_t taps) {
  ShortConv conv(kChannels, taps);
  conv->to(test_device(), at::kDouble);
  const at::NoGradGuard no_grad;
  conv->weight().detach().copy_(random_values({kChannels, taps}));
  return conv;
}

TEST(ShortConvTest, AddsWhatACausalDepthwiseConvolutionGives) {
  at::manual_seed(7);
  for (const std::int64_t taps : {2, 3, 7})
    for (const std::int64_t time : {1, 2, 7, 9}) {
      auto conv = random_conv(taps);
      const auto x = random_values({3, time, kChannels});
      const auto padded = at::constant_pad_nd(x.transpose(1, 2), {taps - 1, 0});  // (B, C, ...)
      const auto kernel = conv->weight().flip(1).unsqueeze(1);                    // (C, 1, k)
      const auto added = at::conv1d(padded, kernel, {}, at::IntArrayRef{1}, at::IntArrayRef{0},
                                    at::IntArrayRef{1}, kChannels);
      const auto want = x + added.transpose(1, 2);
      EXPECT_LE(relative_error(conv->forward(x), want), kDouble) << taps << " over " << time;
    }
}

TEST(ShortConvTest, StartsAsNothing) {
  ShortConv conv(kChannels, 3);
  const auto x = at::randn({2, 4, kChannels});
  EXPECT_TRUE(at::equal(conv->forward(x), x));
}

TEST(ShortConvTest, InPiecesGivesWhatItGivesAtOnce) {
  at::manual_seed(7);
  const at::NoGradGuard no_grad;
  auto conv = random_conv(4);
  const auto x = random_values({2, 9, kChannels});
  const auto want = conv->forward(x);
  for (const auto& pieces :
       std::vector<std::vector<std::int64_t>>{{9}, {1, 8}, {2, 1, 6}, {5, 4}}) {
    at::Tensor recent;
    std::vector<at::Tensor> outputs;
    std::int64_t first = 0;
    for (const auto count : pieces) {
      outputs.push_back(conv->forward(x.narrow(1, first, count), &recent));
      first += count;
    }
    EXPECT_LE(relative_error(at::cat(outputs, 1), want), kDouble) << pieces.front();
  }
}

}  // namespace
}  // namespace moe
