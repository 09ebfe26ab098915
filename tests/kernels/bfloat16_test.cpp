// Rounding to bfloat16 and the product of rounded operands against plain twins: in plain code, and
// by the processor's own instructions where it has them.

#include <c10/util/BFloat16.h>
#include <gtest/gtest.h>

#include <array>
#include <bit>
#include <cmath>
#include <limits>
#include <ostream>
#include <string>
#include <vector>

#include "kernels/cpu/table.h"
#include "moe/base/random.h"
#include "tests/kernels/bfloat16_probe.h"

namespace moe::kernels::cpu {
namespace {

constexpr std::int64_t kPanelWidth = 16;
constexpr float kLeastNormal = std::numeric_limits<float>::min();

/// libtorch's rounding, which keeps denormals; the instruction takes them for 0.
float rounded(float value) {
  if (std::fabs(value) < kLeastNormal) return std::copysign(0.0F, value);
  return static_cast<float>(c10::BFloat16(value));
}
float half_of(std::uint32_t word, int which) {
  return std::bit_cast<float>(which == 0 ? word << 16 : word & 0xFFFF0000U);
}

std::vector<float> special_values() {
  constexpr float kInfinity = std::numeric_limits<float>::infinity();
  std::vector<float> values{0.0F,
                            -0.0F,
                            1.0F,
                            -1.0F,
                            kInfinity,
                            -kInfinity,
                            std::numeric_limits<float>::quiet_NaN(),
                            std::numeric_limits<float>::signaling_NaN(),
                            std::bit_cast<float>(0x7F800001U),  // NaN only in the lower half
                            std::numeric_limits<float>::max(),
                            kLeastNormal,
                            std::numeric_limits<float>::denorm_min(),
                            -kLeastNormal / 2};
  for (const std::uint32_t lower : {0x7FFFU, 0x8000U, 0x8001U})  // about half a step
    for (const std::uint32_t upper : {0x3F80U, 0x3F81U, 0x3FFFU, 0xC07FU, 0x0080U})
      values.push_back(std::bit_cast<float>(upper << 16 | lower));
  Generator draws(3);
  while (values.size() % 32 != 0 || values.size() < 4096)
    values.push_back(std::bit_cast<float>(static_cast<std::uint32_t>(draws.below(1ULL << 32))));
  return values;
}

/// Instructions, or plain code that does the same; vectors, or tile registers.
struct Kind {
  std::string name;
  const Probe* probe;
  bool (*is_there)();
};
void PrintTo(const Kind& kind, std::ostream* out) { *out << kind.name; }
bool always() { return true; }
std::vector<Kind> kinds() {
  return {
      {"emulated", &emulated_probe::kProbe, always},
      {"emulated_tiles", &emulated_tiles_probe::kProbe, always},
#ifdef MOE_TEST_NATIVE_BFLOAT16
      {"native", &native_probe::kProbe, [] { return __builtin_cpu_supports("avx512bf16") != 0; }},
      {"native_tiles", &native_tiles_probe::kProbe, may_use_tiles}
#endif
  };
}

class Bfloat16 : public testing::TestWithParam<Kind> {
 protected:
  void SetUp() override {
    if (!GetParam().is_there())
      GTEST_SKIP() << "this processor has no such instructions, or the system lends them to nobody";
  }
  const Probe* probe_ = GetParam().probe;
};

TEST_P(Bfloat16, RoundsToTheNearestTiesToEvenAndKeepsNaN) {
  const auto values = special_values();
  for (std::size_t first = 0; first < values.size(); first += 32) {
    std::array<std::uint32_t, 16> words{}, beside{};
    probe_->round_consecutive(&values[first], words.data());
    probe_->round_side_by_side(&values[first], beside.data());
    for (std::size_t i = 0; i < 32; ++i) {
      const auto value = values[first + i];
      for (const auto got : {half_of(words[i / 2], static_cast<int>(i % 2)),
                             half_of(beside[i % 16], static_cast<int>(i / 16))}) {
        const auto want = rounded(value);
        if (std::isnan(want))
          EXPECT_TRUE(std::isnan(got)) << std::hex << std::bit_cast<std::uint32_t>(value);
        else
          EXPECT_EQ(std::bit_cast<std::uint32_t>(got), std::bit_cast<std::uint32_t>(want)) << value;
      }
    }
  }
}

std::vector<float> drawn(std::int64_t count, std::uint64_t seed) {
  Generator draws(seed);
  std::vector<float> values(static_cast<std::size_t>(count));
  for (auto& value : values) value = static_cast<float>(2 * draws.uniform() - 1);
  return values;
}

/// A product whose memory ends where its factors do, and what it has to give.
struct Case {
  Case(bool column_major, std::int64_t rows, std::int64_t depth, std::int64_t panels,
       std::int64_t segments)
      : product{column_major, rows, depth, panels, segments, nullptr, 0, 0, nullptr, 0, 0, 0, {}} {
    auto& p = product;
    p.a_stride = column_major ? rows : segments == 0 ? depth : kPanelWidth;
    p.a_segment = rows * kPanelWidth;
    p.b_stride = kPanelWidth;
    p.b_segment = kPanelWidth * kPanelWidth;
    p.b_panel = depth * kPanelWidth;
    a = drawn(rows * depth, 1);
    b = drawn(panels * depth * kPanelWidth, 2);
    out.assign(static_cast<std::size_t>(rows * panels * kPanelWidth), std::nanf(""));
    p.a = a.data();
    p.b = b.data();
    p.out = out.data();
    for (const auto value : a) rounded_a.push_back(static_cast<double>(rounded(value)));
    for (const auto value : b) rounded_b.push_back(static_cast<double>(rounded(value)));
  }

  double left(std::int64_t m, std::int64_t k) const {
    const auto& p = product;
    const auto segment = p.segments == 0 ? 0 : k / kPanelWidth;
    const auto inside = k - segment * kPanelWidth;
    return rounded_a[static_cast<std::size_t>(
        segment * p.a_segment +
        (p.column_major ? inside * p.a_stride + m : m * p.a_stride + inside))];
  }

  void expect_sums() const {
    // Each of `depth` additions in float rounds by 2^-24 of a sum that never exceeds `most`.
    const double tolerance = std::ldexp(static_cast<double>(product.depth), -24);
    for (std::int64_t m = 0; m < product.rows; ++m)
      for (std::int64_t c = 0; c < product.panels * kPanelWidth; ++c) {
        double sum = 0, most = 0;
        for (std::int64_t k = 0; k < product.depth; ++k) {
          const auto right = rounded_b[static_cast<std::size_t>(c / kPanelWidth * product.b_panel +
                                                                k * kPanelWidth + c % kPanelWidth)];
          const auto term = left(m, k) * right;
          sum += term;
          most += std::fabs(term);
        }
        const auto got = out[static_cast<std::size_t>(m * product.panels * kPanelWidth + c)];
        ASSERT_NEAR(static_cast<double>(got), sum, tolerance * most)
            << "row " << m << " column " << c;
      }
  }

  ProbedProduct product;
  std::vector<float> a, b, out;
  std::vector<double> rounded_a, rounded_b;
};

using Sizes = std::vector<std::int64_t>;

/// Products of all these sizes, with a left factor of either layout.
void expect_products(const Probe& probe, const Sizes& rows, const Sizes& depths,
                     const Sizes& panels) {
  for (const bool column_major : {false, true})
    for (const auto height : rows)
      for (const auto depth : depths)
        for (const auto count : panels) {
          SCOPED_TRACE("column_major " + std::to_string(column_major) + " rows " +
                       std::to_string(height) + " depth " + std::to_string(depth) + " panels " +
                       std::to_string(count));
          Case one(column_major, height, depth, count, 0);
          probe.multiply(one.product);
          ASSERT_NO_FATAL_FAILURE(one.expect_sums());
        }
}

TEST_P(Bfloat16, AProductIsThatOfRoundedOperands) {
  expect_products(*probe_, {1, 7, 8, 9, 97, 200}, {1, 2, 15, 16, 33, 255, 256, 257, 600},
                  {1, 2, 3, 4, 5, 13, 26});
}

TEST_P(Bfloat16, AProductAboutTheEdgesOfTilesBandsAndChunksIsThatOfRoundedOperands) {
  expect_products(*probe_, {15, 16, 17, 191, 192, 193}, {31, 32, 511, 512, 513, 1025, 1600},
                  {1, 4});
}

TEST_P(Bfloat16, AProductOverPanelsIsThatOfRoundedOperands) {
  for (const bool column_major : {false, true})
    for (const std::int64_t rows : {1, 24, 97})
      for (const std::int64_t segments : {1, 2, 3, 16, 17, 33})
        for (const std::int64_t panels : {1, 3, 14}) {
          SCOPED_TRACE("column_major " + std::to_string(column_major) + " rows " +
                       std::to_string(rows) + " segments " + std::to_string(segments));
          Case one(column_major, rows, segments * kPanelWidth, panels, segments);
          probe_->multiply(one.product);
          ASSERT_NO_FATAL_FAILURE(one.expect_sums());
        }
}

TEST_P(Bfloat16, WhatAnEarlierProductLeftInTheBuffersCountsForNothing) {
  for (const bool column_major : {false, true})
    for (const std::int64_t rows : {1, 17})
      for (const std::int64_t depth : {1, 15, 33}) {
        SCOPED_TRACE("rows " + std::to_string(rows) + " depth " + std::to_string(depth));
        Case before(column_major, 200, 600, 13, 0);
        before.a.assign(before.a.size(), std::nanf(""));
        before.b.assign(before.b.size(), std::nanf(""));
        probe_->multiply(before.product);
        Case one(column_major, rows, depth, 2, 0);
        probe_->multiply(one.product);
        ASSERT_NO_FATAL_FAILURE(one.expect_sums());
      }
}

TEST_P(Bfloat16, ASumOverNothingIsZero) {
  Case one(/*column_major=*/false, 9, 16, 2, 1);
  one.product.segments = 0;
  one.product.depth = 0;
  probe_->multiply(one.product);
  for (const auto value : one.out) EXPECT_EQ(value, 0);
}

INSTANTIATE_TEST_SUITE_P(Kinds, Bfloat16, testing::ValuesIn(kinds()),
                         [](const auto& kind) { return kind.param.name; });

}  // namespace
}  // namespace moe::kernels::cpu
