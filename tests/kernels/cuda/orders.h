#pragma once

// What the tests of kernel texts share: a kernel runs in several orders and must give the same bits
// in each.

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <random>
#include <tuple>
#include <type_traits>
#include <utility>
#include <vector>

namespace moe::kernels::cuda {

inline constexpr unsigned kOrders = 8;

/// How far a kernel may be from a twin: double sums differ in their order only, float sums of up to
/// a few thousand values of size 1 in their last digits.
template <class T>
inline constexpr double kNear = sizeof(T) == sizeof(float) ? 2e-5 : 1e-12;

inline std::size_t at(long long i) { return static_cast<std::size_t>(i); }

/// What memory holds before a kernel writes it: a value that nothing computes with.
template <class T>
std::vector<T> unwritten(long long count) {
  const T value =
      std::is_floating_point_v<T> ? std::numeric_limits<T>::quiet_NaN() : static_cast<T>(-77);
  return std::vector<T>(at(count), value);
}

template <class T>
bool same_bits(const std::vector<T>& a, const std::vector<T>& b) {
  return a.size() == b.size() &&
         (a.empty() || std::memcmp(a.data(), b.data(), a.size() * sizeof(T)) == 0);
}
template <class... T>
bool same_bits(const std::tuple<std::vector<T>...>& a, const std::tuple<std::vector<T>...>& b) {
  return [&]<std::size_t... i>(std::index_sequence<i...>) {
    return (same_bits(std::get<i>(a), std::get<i>(b)) && ...);
  }
  (std::index_sequence_for<T...>{});
}

/// How many of the orders after the first give other bits: run(seed) is a vector, or a tuple of
/// them.
template <class Run>
unsigned orders_that_differ(const Run& run) {
  const auto first = run(1U);
  unsigned differing = 0;
  for (unsigned seed = 2; seed <= kOrders; ++seed) differing += !same_bits(run(seed), first);
  return differing;
}

/// What run(seed) gives, which must be the same in each order.
template <class Run>
auto in_every_order(const Run& run) {
  EXPECT_EQ(orders_that_differ(run), 0U);
  return run(1U);
}

/// Values from -2 to 2, other ones for each seed.
template <class T>
std::vector<T> random_values(long long count, unsigned seed) {
  std::mt19937 bits(seed);
  std::uniform_real_distribution<double> values(-2, 2);
  std::vector<T> drawn(at(count));
  for (auto& value : drawn) value = static_cast<T>(values(bits));
  return drawn;
}

/// Each value within `bound` of the wanted one, relative to it where it is larger than 1.
template <class T, class Wanted>
void expect_near(const std::vector<T>& got, const std::vector<Wanted>& want, double bound) {
  ASSERT_EQ(got.size(), want.size());
  for (std::size_t i = 0; i < got.size(); ++i) {
    const double wanted = static_cast<double>(want[i]);
    ASSERT_NEAR(static_cast<double>(got[i]), wanted, bound * std::max(1.0, std::abs(wanted)))
        << "value " << i;
  }
}

using FloatTypes = ::testing::Types<float, double>;

}  // namespace moe::kernels::cuda
