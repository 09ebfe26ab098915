#include "moe/exchange/ggml_type.h"

#include <gtest/gtest.h>

#include <bit>
#include <cmath>

#include "tests/exchange/gguf_golden.h"

namespace moe {
namespace {

struct Kind {
  const char* name;
  GgmlType type;
};
constexpr Kind kKinds[] = {
    {"f16", GgmlType::f16}, {"bf16", GgmlType::bf16}, {"q8_0", GgmlType::q8_0}};

TEST(GgmlType, HostileValuesBecomeTheBytesThatThePackageMakesOfThem) {
  const test::GgufGolden golden;
  const auto values = golden.values("values");
  for (const auto& [name, type] : kKinds) {
    std::string bytes;
    append_values(type, values, bytes);
    const auto wanted = golden.bytes(name);
    ASSERT_EQ(bytes.size(), wanted.size()) << name;
    for (std::size_t i = 0; i < bytes.size(); ++i)
      ASSERT_EQ(bytes[i], wanted[i]) << name << " at byte " << i;
  }
}

TEST(GgmlType, BytesAreReadAsTheValuesThatThePackageReads) {
  const test::GgufGolden golden;
  for (const auto& [name, type] : kKinds) {
    const auto values = golden.values(name), wanted = golden.values(std::string(name) + ".back");
    ASSERT_EQ(values.size(), wanted.size()) << name;
    for (std::size_t i = 0; i < values.size(); ++i)
      ASSERT_TRUE(std::bit_cast<std::uint32_t>(values[i]) ==
                      std::bit_cast<std::uint32_t>(wanted[i]) ||
                  (std::isnan(values[i]) && std::isnan(wanted[i])))
          << name << " at " << i;
  }
}

TEST(GgmlType, EverySixteenBitsAreTheirOwnValue) {
  for (std::uint32_t bits = 0; bits < 0x10000U; ++bits) {
    const auto half = static_cast<std::uint16_t>(bits);
    EXPECT_EQ(float16_bits(float16_value(half)), half);
    EXPECT_TRUE(bfloat16_bits(bfloat16_value(half)) == half || std::isnan(bfloat16_value(half)));
  }
}

TEST(GgmlType, Float16RoundsEveryMiddleToEven) {
  for (std::uint16_t bits = 0; bits < 0x7BFFU; ++bits) {
    const auto next = static_cast<std::uint16_t>(bits + 1);
    const float low = float16_value(bits), high = float16_value(next);
    const float middle = low + (high - low) / 2;
    EXPECT_EQ(float16_bits(middle), bits % 2 == 0 ? bits : next) << bits;
    EXPECT_EQ(float16_bits(std::nextafter(middle, high)), next) << bits;
    EXPECT_EQ(float16_bits(-std::nextafter(middle, low)), bits | 0x8000U) << bits;
  }
}

TEST(GgmlType, BlocksThatAreCutAreABug) {
  std::string bytes;
  const std::vector<float> values(33);
  EXPECT_THROW(append_values(GgmlType::q8_0, values, bytes), std::logic_error);
  std::vector<float> out(32);
  EXPECT_THROW(read_values(GgmlType::q8_0, std::string(33, 'x'), out), std::logic_error);
}

}  // namespace
}  // namespace moe
