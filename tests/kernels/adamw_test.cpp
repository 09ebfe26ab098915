// AdamW's kernel against its plain twin, and the sum of squares against a longer sum, in double: at
// sizes about those of their tasks, and on several threads.

#include "moe/kernels/adamw.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <cmath>
#include <cstdint>
#include <limits>
#include <string>
#include <vector>

#include "tests/support/golden.h"
#include "tests/support/threads.h"

namespace moe::kernels {
namespace {

/// Of the largest value: about ten roundings of 1.1e-16 a value and update, five updates. At most
/// 6e-16 was measured.
constexpr double kFiveUpdates = 1e-14;
/// Of a sum without negative terms: each is rounded once, and at most 4096 of a block are added one
/// after another (vectors of two, eight streams), by 1.1e-16 each. At most 6e-15 was measured.
constexpr double kSumOfABlock = 5e-13;

constexpr std::int64_t kValuesATask = 1 << 15, kValuesABlock = 1 << 16;

/// Parameters, gradients and moments of so many values.
struct Flat {
  explicit Flat(std::int64_t count) {
    at::manual_seed(11);
    const at::TensorOptions doubles(at::kDouble);
    parameters = at::randn({count}, doubles);
    gradients = at::randn({count}, doubles);
    gradients.slice(0, 0, count, 5).zero_();  // experts without a token
    exp_avg = at::zeros({count}, doubles);
    exp_avg_sq = at::zeros({count}, doubles);
  }
  std::vector<at::Tensor> moved() const { return {parameters, exp_avg, exp_avg_sq}; }

  at::Tensor parameters, gradients, exp_avg, exp_avg_sq;
};

/// The update number `step`; each has other coefficients.
AdamWStep update_of(std::int64_t step) {
  const auto n = static_cast<double>(step);
  return {0.01 / n, 0.9 - 0.1 * n, 0.999, 1e-8, 0.1 * n, step, 1 / n};
}

void expect_five_updates_as_the_reference(std::int64_t count, bool cautious) {
  Flat ours(count), plain(count);
  const auto gradients = ours.gradients.clone();
  for (std::int64_t step = 1; step <= 5; ++step) {
    auto update = update_of(step);
    update.cautious = cautious;
    adamw(ours.parameters, ours.gradients, ours.exp_avg, ours.exp_avg_sq, update);
    adamw_reference(plain.parameters, gradients, plain.exp_avg, plain.exp_avg_sq, update);
    for (std::size_t i = 0; i < 3; ++i)
      EXPECT_LE(test::relative_error(ours.moved()[i], plain.moved()[i]), kFiveUpdates)
          << "value set " << i << " after update " << step;
  }
  EXPECT_TRUE(at::equal(ours.gradients, gradients)) << "gradients are only read";
}

TEST(AdamWKernel, EqualsTheReferenceAboutTheSizeOfItsTasks) {
  for (const std::int64_t count : {std::int64_t{1}, std::int64_t{7}, kValuesATask - 1, kValuesATask,
                                   kValuesATask + 1, 3 * kValuesATask + 5}) {
    SCOPED_TRACE(std::to_string(count) + " values");
    expect_five_updates_as_the_reference(count, /*cautious=*/false);
    expect_five_updates_as_the_reference(count, /*cautious=*/true);
  }
}

TEST(AdamWKernel, CautiousDecayAsksTheUpdateNotTheGradient) {
  // Momentum outweighs the gradient: the update has the sign of the first moment.
  const at::TensorOptions doubles(at::kDouble);
  const auto weights = at::tensor({2.0, 2.0, -2.0, -2.0, 0.0}, doubles);
  const auto moments = at::tensor({1.0, -1.0, 1.0, -1.0, 1.0}, doubles);
  const auto gradients = -moments;
  const auto decays = at::tensor({1.0, 0.0, 0.0, 1.0, 0.0}, doubles);  // where they go towards 0
  const auto moved = [&](double weight_decay) {
    auto parameters = weights.clone(), exp_avg = moments.clone(), squares = at::ones({5}, doubles);
    adamw(parameters, gradients.clone(), exp_avg, squares,
          {.learning_rate = 0.1,
           .beta1 = 0.9,
           .beta2 = 0.9,
           .eps = 1e-8,
           .weight_decay = weight_decay,
           .step = 9,
           .gradient_scale = 1,
           .cautious = true});
    return parameters;
  };
  EXPECT_LE(test::relative_error(moved(0) - moved(0.5), 0.1 * 0.5 * weights * decays),
            kFiveUpdates);
}

TEST(AdamWKernel, GoesOnFromAnyUpdateAsTheReference) {
  Flat ours(1003), plain(1003);
  for (const auto& flat : {ours, plain}) {
    flat.exp_avg.copy_(flat.parameters * 0.1);
    flat.exp_avg_sq.copy_(flat.parameters.square());
  }
  const AdamWStep late{3e-4, 0.9, 0.95, 1e-8, 0.1, 100'000, 0.25};
  adamw(ours.parameters, ours.gradients, ours.exp_avg, ours.exp_avg_sq, late);
  adamw_reference(plain.parameters, plain.gradients, plain.exp_avg, plain.exp_avg_sq, late);
  for (std::size_t i = 0; i < 3; ++i)
    EXPECT_LE(test::relative_error(ours.moved()[i], plain.moved()[i]), kFiveUpdates) << i;
}

TEST(AdamWKernel, IsTheSameForAnyNumberOfThreads) {
  const auto updated = [](int threads) {
    const test::ThreadCount count(threads);
    Flat flat(3 * kValuesATask + 5);
    adamw(flat.parameters, flat.gradients, flat.exp_avg, flat.exp_avg_sq, update_of(1));
    return flat.moved();
  };
  const auto one = updated(1);
  for (const int threads : {2, 3}) {
    const auto several = updated(threads);
    for (std::size_t i = 0; i < 3; ++i) EXPECT_TRUE(at::equal(several[i], one[i])) << threads;
  }
}

TEST(AdamWKernel, LeavesWhatLiesBesideItsValues) {
  for (const std::int64_t count : {std::int64_t{5}, kValuesATask + 3}) {
    std::vector<at::Tensor> wide;
    for (int i = 0; i < 4; ++i) wide.push_back(at::ones({count + 2}, at::kDouble));
    const auto inner = [&](std::size_t i) { return wide[i].narrow(0, 1, count); };
    adamw(inner(0), inner(1), inner(2), inner(3), update_of(1));
    for (const auto& all : wide)
      EXPECT_EQ(all[0].item<double>() + all[count + 1].item<double>(), 2) << count;
    EXPECT_FALSE(inner(0).eq(1).any().item<bool>()) << "all between was moved";
  }
}

/// Of magnitude 0.5 to 1.5, so that one value more or less shows in a sum of any of these sizes.
at::Tensor values_that_count(std::int64_t count, at::ScalarType type) {
  at::manual_seed(12);
  const auto size = at::rand({count}, at::TensorOptions(at::kDouble)) + 0.5;
  return (size * at::randn({count}, at::TensorOptions(at::kDouble)).sign()).to(type);
}

double longer_sum_of_squares(const at::Tensor& values) {
  static_assert(std::numeric_limits<long double>::digits >= std::numeric_limits<double>::digits);
  const auto all = values.to(at::kDouble);
  const auto* begin = all.const_data_ptr<double>();
  long double sum = 0;
  for (std::int64_t i = 0; i < all.numel(); ++i) {
    const auto value = static_cast<long double>(begin[i]);
    sum += value * value;
  }
  return static_cast<double>(sum);
}

constexpr std::int64_t kSumSizes[] = {
    0, 1, 63, kValuesABlock - 1, kValuesABlock, kValuesABlock + 1, 3 * kValuesABlock + 7};

TEST(SumOfSquares, IsThatOfALongerSum) {
  for (const auto type : {at::kDouble, at::kFloat})
    for (const auto count : kSumSizes) {
      const auto values = values_that_count(count, type);
      const auto want = longer_sum_of_squares(values);
      EXPECT_NEAR(sum_of_squares(values), want, kSumOfABlock * want) << type << ", " << count;
    }
}

TEST(SumOfSquares, IsTheSameForAnyNumberOfThreads) {
  for (const auto type : {at::kDouble, at::kFloat})
    for (const auto count : kSumSizes) {
      const auto values = values_that_count(count, type);
      const auto sum_on = [&](int threads) {
        const test::ThreadCount thread_count(threads);
        return sum_of_squares(values);
      };
      const auto one = sum_on(1);
      EXPECT_EQ(sum_on(2), one) << type << ", " << count;
      EXPECT_EQ(sum_on(3), one) << type << ", " << count;
    }
}

TEST(SumOfSquares, AddsItsBlocksInOrder) {
  const auto values = values_that_count(3 * kValuesABlock + 7, at::kDouble);
  double sum = 0;
  for (const auto& block : values.split(kValuesABlock)) sum += sum_of_squares(block);
  EXPECT_EQ(sum_of_squares(values), sum);
}

TEST(SumOfSquares, OfAValueThatIsNotFiniteIsNotFinite) {
  for (const auto type : {at::kDouble, at::kFloat})
    for (const double bad : {std::nan(""), HUGE_VAL, -HUGE_VAL})
      for (const std::int64_t where : {std::int64_t{0}, kValuesABlock, 2 * kValuesABlock + 6}) {
        const auto values = values_that_count(2 * kValuesABlock + 7, type);
        values[where] = bad;
        EXPECT_FALSE(std::isfinite(sum_of_squares(values))) << type << ", " << bad << ", " << where;
      }
}

}  // namespace
}  // namespace moe::kernels
