// AdamW and the norm of gradients on the device against those of the CPU.

#include "kernels/cuda/optimizer.cuh"

#include "cpu_twin.h"
#include "orders.h"

namespace moe::kernels::cuda {
namespace {

using cuda_on_cpu::launch;

constexpr Index kAdamWCounts[] = {1, 63, 1000};
constexpr Update kSteps[] = {{.learning_rate = 3e-3,
                              .step = 1,
                              .momentum = 0,
                              .decay_scale = 1,
                              .average_weight = 0,
                              .gradient_scale = 0.5,
                              .is_sound = 1},
                             {.learning_rate = 1e-3,
                              .step = 400,
                              .momentum = 0,
                              .decay_scale = 0.2,
                              .average_weight = 0,
                              .gradient_scale = 1,
                              .is_sound = 1}};
constexpr AdamWConstants adamw_constants(bool cautious) {
  return {/*learning_rate_scale=*/1.5, 0.9,     0.99, 1e-8,
          /*weight_decay=*/0.1,        cautious};
}
/// A step is a product of some ten roundings, of values up to 2.
template <class T>
constexpr double kAdamWNear = sizeof(T) == sizeof(float) ? 1e-6 : 1e-14;

template <class T>
struct Flat {
  explicit Flat(Index count)
      : parameters(random_values<T>(count, 1)),
        gradients(random_values<T>(count, 2)),
        exp_avg(random_values<T>(count, 3)),
        exp_avg_sq(random_values<T>(count, 4)) {
    for (auto& value : exp_avg_sq) value = std::abs(value);
  }
  AdamWMemory<T> memory() {
    return {parameters.data(), gradients.data(), exp_avg.data(), exp_avg_sq.data()};
  }
  auto parts() const { return std::tuple(parameters, exp_avg, exp_avg_sq); }

  std::vector<T> parameters, gradients, exp_avg, exp_avg_sq;
};

template <class T>
Flat<T> stepped_by_twin(Index count, const AdamWConstants& constants, const Update& update) {
  Flat<T> flat(count);
  const auto rate = update.learning_rate * constants.learning_rate_scale;
  twin::adamw_update<T>(
      {flat.parameters.data(), flat.gradients.data(), flat.exp_avg.data(), flat.exp_avg_sq.data(),
       update.gradient_scale, 1 - rate * update.decay_scale * constants.weight_decay,
       constants.beta1, constants.beta2, constants.eps,
       rate / (1 - std::pow(constants.beta1, update.step)),
       1 / std::sqrt(1 - std::pow(constants.beta2, update.step)), constants.cautious},
      0, count);
  return flat;
}

template <class T>
class CudaOptimizer : public ::testing::Test {};
TYPED_TEST_SUITE(CudaOptimizer, FloatTypes);

TYPED_TEST(CudaOptimizer, AdamWIsThatOfTheCpu) {
  for (const auto count : kAdamWCounts)
    for (const bool cautious : {false, true})
      for (const auto& update : kSteps) {
        const auto constants = adamw_constants(cautious);
        const auto [parameters, exp_avg, exp_avg_sq] = in_every_order([&](unsigned seed) {
          Flat<TypeParam> flat(count);
          launch(3, 64, seed, [&] { adamw(flat.memory(), count, constants, &update); });
          return flat.parts();
        });
        const auto want = stepped_by_twin<TypeParam>(count, constants, update);
        expect_near(exp_avg, want.exp_avg, kAdamWNear<TypeParam>);
        expect_near(exp_avg_sq, want.exp_avg_sq, kAdamWNear<TypeParam>);
        expect_near(parameters, want.parameters, kAdamWNear<TypeParam>);
      }
}

TYPED_TEST(CudaOptimizer, ARefusedUpdateLeavesWeightsAndMomentsAsTheyAre) {
  constexpr Index kCount = 100;
  auto refused = kSteps[0];
  refused.is_sound = 0;
  Flat<TypeParam> flat(kCount);
  const auto before = flat.parts();
  launch(1, 64, 1, [&] { adamw(flat.memory(), kCount, adamw_constants(false), &refused); });
  EXPECT_TRUE(same_bits(flat.parts(), before));
}

template <class T>
double sum_of_squares_of(const std::vector<T>& values) {
  const auto count = static_cast<Index>(values.size());
  const auto [parts, sum] = in_every_order([&](unsigned seed) {
    auto of_blocks = unwritten<double>(pieces(count, kNormBlock)), total = unwritten<double>(1);
    launch(static_cast<unsigned>(of_blocks.size()), 64, seed,
           [&] { square_parts(values.data(), count, of_blocks.data()); });
    launch(1, kPartsAtOnce, seed, [&] {
      sum_parts(of_blocks.data(), static_cast<Index>(of_blocks.size()), total.data());
    });
    return std::tuple(of_blocks, total);
  });
  return sum.front();
}

TYPED_TEST(CudaOptimizer, TheSumOfSquaresIsThatOfTheCpu) {
  for (const Index count : {Index{1}, Index{777}, 2 * kNormBlock + 5}) {
    const auto values = random_values<TypeParam>(count, 7);
    double want = 0;
    for (Index first = 0; first < count; first += kNormBlock)
      want += twin::sum_of_squares(values.data() + first, std::min(kNormBlock, count - first));
    EXPECT_NEAR(sum_of_squares_of(values), want, want * kNear<double>);
  }
}

constexpr double kNotANumber = std::numeric_limits<double>::quiet_NaN();
constexpr double kUnbounded = std::numeric_limits<double>::infinity();

/// What the guard tells of an update, after two sound ones.
struct Told {
  double norm = -1, gradient_scale = -1, sound = 2, is_sound = 1;
};
Told guarded(double loss, double squares, double max_norm, double is_sound = 1) {
  Told told;
  Update update = kSteps[0];
  update.is_sound = is_sound;
  launch(1, 32, 1,
         [&] { guard_step(&loss, &squares, max_norm, &told.norm, &told.sound, &update); });
  told.gradient_scale = update.gradient_scale;
  told.is_sound = update.is_sound;
  return told;
}

TEST(CudaGuard, GradientsAreClippedToTheLargestNorm) {
  EXPECT_EQ(guarded(1, 16, 1).norm, 4);
  EXPECT_EQ(guarded(1, 16, 1).gradient_scale, 0.25);
  EXPECT_EQ(guarded(1, 16, 4).gradient_scale, 1);
  EXPECT_EQ(guarded(1, 16, kUnbounded).gradient_scale, 1);
  EXPECT_EQ(guarded(1, 0, 1).gradient_scale, 1);
}

TEST(CudaGuard, ALossOrNormThatIsNotFiniteIsRefusedAndNotCounted) {
  EXPECT_EQ(guarded(-3, 16, 1).is_sound, 1);
  EXPECT_EQ(guarded(-3, 16, 1).sound, 3);
  for (const double bad : {kNotANumber, kUnbounded, -kUnbounded})
    for (const auto& told :
         {guarded(bad, 16, 1), guarded(1, bad, 1), guarded(1, bad, kUnbounded)}) {
      EXPECT_EQ(told.is_sound, 0);
      EXPECT_EQ(told.sound, 2);
    }
}

TEST(CudaGuard, AfterARefusedUpdateAllAreUntilTheHostHasSeenIt) {
  const auto next = guarded(1, 16, 1, /*is_sound=*/0);
  EXPECT_EQ(next.is_sound, 0);
  EXPECT_EQ(next.sound, 2);
}

TEST(CudaOptimizerParts, AreAddedOneAfterAnother) {
  const auto parts = random_values<double>(2 * kPartsAtOnce + 3, 5);
  const auto sum = in_every_order([&](unsigned seed) {
    auto to = unwritten<double>(1);
    launch(1, kPartsAtOnce, seed,
           [&] { sum_parts(parts.data(), static_cast<Index>(parts.size()), to.data()); });
    return to;
  });
  double want = 0;
  for (const double part : parts) want += part;
  EXPECT_EQ(sum.front(), want);
}

}  // namespace
}  // namespace moe::kernels::cuda
