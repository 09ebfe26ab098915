#include "moe/kernels/exponentials.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <vector>

namespace moe::kernels {
namespace {

TEST(Exponentials, AreWithinTwoUlpAndZeroFarBelow) {
  std::vector<float> values;
  for (int i = 0; i <= 8701; ++i) values.push_back(-0.01F * static_cast<float>(i));
  auto got = values;
  exponentials(got);
  for (std::size_t i = 0; i < values.size(); ++i) {
    const auto want = static_cast<float>(std::exp(static_cast<double>(values[i])));
    const auto ulp = std::nextafter(want, 2.0F) - want;
    ASSERT_LE(std::abs(got[i] - want), 2 * ulp) << values[i];
  }
  EXPECT_EQ(got.front(), 1);
  std::vector<float> low{-88, -1e30F, -std::numeric_limits<float>::infinity()};
  exponentials(low);
  EXPECT_EQ(low, (std::vector<float>{0, 0, 0}));
}

}  // namespace
}  // namespace moe::kernels
