// Flat memory: zeros of any size, in whole large pages from 2 MiB on.

#include "moe/kernels/flat_memory.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <cstdint>
#include <new>
#include <string>

namespace moe::kernels {
namespace {

constexpr std::uintptr_t kFromHereLarge = std::uintptr_t{2} << 20U;  // [bytes]
constexpr std::uintptr_t kLine = 64;                                 // of a cache [bytes]

class FlatMemory : public testing::TestWithParam<at::ScalarType> {
 protected:
  static std::int64_t values_in(std::uintptr_t bytes) {
    return static_cast<std::int64_t>(bytes / c10::elementSize(GetParam()));
  }
  static at::Tensor zeros_of(std::int64_t count) {
    return flat_zeros(count, at::TensorOptions(GetParam()));
  }
  static std::uintptr_t place_of(const at::Tensor& flat) {
    return reinterpret_cast<std::uintptr_t>(flat.const_data_ptr());
  }
};

TEST_P(FlatMemory, IsZeroAndAlignedWhateverItsSize) {
  const auto page = values_in(kFromHereLarge);
  for (const auto count : {std::int64_t{0}, std::int64_t{1}, std::int64_t{7}, page - 1, page,
                           page + 1, 3 * page, 3 * page + 5}) {
    const auto flat = zeros_of(count);
    EXPECT_EQ(flat.sizes(), at::IntArrayRef{count});
    EXPECT_EQ(flat.scalar_type(), GetParam());
    EXPECT_TRUE(flat.is_cpu() && flat.is_contiguous() && !flat.requires_grad());
    EXPECT_TRUE(flat.eq(0).all().item<bool>()) << count;
    if (count > 0) {
      EXPECT_EQ(place_of(flat) % (count < page ? kLine : kFromHereLarge), 0U) << count;
    }
  }
}

TEST_P(FlatMemory, IsZeroWhereOthersLeftTheirValues) {
  const auto count = values_in(2 * kFromHereLarge) + 3;
  for (int i = 0; i < 5; ++i) {
    const auto flat = zeros_of(count);
    ASSERT_TRUE(flat.eq(0).all().item<bool>()) << i;
    flat.fill_(1);
  }
}

TEST_P(FlatMemory, OutlivesTheTensorItCameWith) {
  const auto count = values_in(kFromHereLarge) + 9;
  auto flat = zeros_of(count);
  const auto last = flat.narrow(0, count - 9, 9).fill_(3);
  flat.reset();
  const auto other = zeros_of(count).fill_(4);
  EXPECT_TRUE(last.eq(3).all().item<bool>());
  EXPECT_TRUE(other.eq(4).all().item<bool>());
}

TEST_P(FlatMemory, MoreThanThereIsThrows) {
  EXPECT_THROW(zeros_of(values_in(std::uintptr_t{1} << 56U)), std::bad_alloc);
}

INSTANTIATE_TEST_SUITE_P(Types, FlatMemory, testing::Values(at::kFloat, at::kDouble),
                         [](const auto& type) { return std::string(c10::toString(type.param)); });

}  // namespace
}  // namespace moe::kernels
