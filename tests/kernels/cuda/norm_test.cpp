// Norms on the device against those of the CPU.

#include "kernels/cuda/norm.cuh"

#include "cpu_twin.h"
#include "orders.h"

namespace moe::kernels::cuda {
namespace {

using cuda_on_cpu::launch;

struct NormCase {
  const char* name;
  Index rows, width;
  bool centres, has_weight, has_bias;
};
constexpr NormCase kNormCases[] = {{"one value", 1, 1, true, true, true},
                                   {"layer norm, less than a block", 9, 37, true, true, true},
                                   {"layer norm without bias", 5, 64, true, true, false},
                                   {"layer norm without parameters", 3, 64, true, false, false},
                                   {"RMS norm, more than a block", 5, 130, false, true, false},
                                   {"RMS norm of two stretches", 67, 20, false, true, true}};
constexpr double kEps = 1e-5;
/// The value of a row of one is its own mean: what is left is rounding times 1 / sqrt(kEps).
constexpr double kOfOneValue = 300;
constexpr unsigned kNormThreads = 64;

template <class T>
struct NormData {
  explicit NormData(const NormCase& shape)
      : c(shape),
        x(random_values<T>(c.rows * c.width, 1)),
        dy(random_values<T>(c.rows * c.width, 2)),
        past(random_values<T>(c.rows * c.width, 3)),
        weight(c.has_weight ? random_values<T>(c.width, 4)
                            : std::vector<T>(static_cast<std::size_t>(c.width), T{1})),
        bias(random_values<T>(c.width, 5)),
        mean(unwritten<T>(c.rows)),
        inverse_std(unwritten<T>(c.rows)) {}

  Norm<T> norm() {
    return {c.has_weight ? weight.data() : nullptr,
            c.has_bias ? bias.data() : nullptr,
            c.centres,
            kEps,
            mean.data(),
            inverse_std.data()};
  }
  cpu::Norm<T> twin_norm() {
    cpu::Norm<T> norm;
    norm.kind = c.centres ? NormKind::layer : NormKind::rms;
    norm.weight = weight.data();
    norm.bias = c.has_bias ? bias.data() : nullptr;
    norm.mean = mean.data();
    norm.inverse_std = inverse_std.data();
    norm.eps = kEps;
    return norm;
  }

  /// y, mean and inverse_std of the twin; the latter stay for backward.
  std::tuple<std::vector<T>, std::vector<T>, std::vector<T>> forward_by_twin() {
    std::vector<T> y, row(static_cast<std::size_t>(cpu::padded(c.width)));
    for (Index n = 0; n < c.rows; ++n) {
      twin::normalise(twin_norm(), n, x.data() + n * c.width, c.width, row.data());
      y.insert(y.end(), row.begin(), row.begin() + c.width);
    }
    return {y, mean, inverse_std};
  }

  NormCase c;
  std::vector<T> x, dy, past, weight, bias, mean, inverse_std;
};

template <class T>
class CudaNorm : public ::testing::Test {};
TYPED_TEST_SUITE(CudaNorm, FloatTypes);

TYPED_TEST(CudaNorm, RowsAndTheirStatisticsAreThoseOfTheCpu) {
  for (const auto& shape : kNormCases) {
    SCOPED_TRACE(shape.name);
    NormData<TypeParam> data(shape);
    const auto [y, mean, inverse_std] = in_every_order([&](unsigned seed) {
      NormData<TypeParam> mine(shape);
      auto to = unwritten<TypeParam>(shape.rows * shape.width);
      launch(static_cast<unsigned>(shape.rows), kNormThreads, seed,
             [&] { normalise(mine.norm(), mine.x.data(), shape.width, to.data()); });
      return std::tuple(to, mine.mean, mine.inverse_std);
    });
    const auto [want_y, want_mean, want_inverse_std] = data.forward_by_twin();
    expect_near(mean, want_mean, kNear<TypeParam>);
    expect_near(inverse_std, want_inverse_std, kNear<TypeParam>);
    expect_near(y, want_y, kNear<TypeParam>);
  }
}

TYPED_TEST(CudaNorm, GradientsOfRowsAreThoseOfTheCpu) {
  for (const auto& shape : kNormCases)
    for (const bool has_past : {false, true}) {
      SCOPED_TRACE(shape.name);
      NormData<TypeParam> data(shape);
      data.forward_by_twin();
      const auto* past = has_past ? data.past.data() : nullptr;
      const auto d_x = in_every_order([&](unsigned seed) {
        auto to = unwritten<TypeParam>(shape.rows * shape.width);
        launch(static_cast<unsigned>(shape.rows), kNormThreads, seed, [&] {
          normalise_backward(data.norm(), data.x.data(), data.dy.data(), past, shape.width,
                             to.data());
        });
        return to;
      });
      std::vector<TypeParam> want(data.x.size(), 0);
      if (has_past) want = data.past;
      std::vector<TypeParam> parts(static_cast<std::size_t>(2 * cpu::padded(shape.width)));
      for (Index n = 0; n < shape.rows; ++n)
        twin::normalise_backward(data.twin_norm(), n, data.x.data() + n * shape.width,
                                 data.dy.data() + n * shape.width, shape.width,
                                 want.data() + n * shape.width, parts.data());
      expect_near(d_x, want, kNear<TypeParam> * (shape.width == 1 ? kOfOneValue : 1));
    }
}

/// Gradients of weight and bias, added to 1 or not.
template <class T>
std::tuple<std::vector<T>, std::vector<T>> parameter_gradients(NormData<T>& data, bool adds,
                                                               unsigned seed) {
  const auto& c = data.c;
  auto parts = unwritten<T>(pieces(c.rows, kNormRows) * 2 * c.width);
  std::vector<T> d_weight(static_cast<std::size_t>(c.width), 1), d_bias = d_weight;
  launch(2, kNormThreads, seed, [&] {
    norm_gradient_parts(data.norm(), data.x.data(), data.dy.data(), c.rows, c.width, parts.data());
  });
  launch(1, kNormThreads, seed, [&] {
    sum_norm_parts(parts.data(), c.rows, c.width, adds, d_weight.data(), d_bias.data());
  });
  return {d_weight, d_bias};
}

TYPED_TEST(CudaNorm, GradientsOfItsParametersAreThoseOfTheCpu) {
  for (const auto& shape : kNormCases)
    for (const bool adds : {false, true}) {
      SCOPED_TRACE(shape.name);
      NormData<TypeParam> data(shape);
      data.forward_by_twin();
      const auto [d_weight, d_bias] =
          in_every_order([&](unsigned seed) { return parameter_gradients(data, adds, seed); });
      std::vector<TypeParam> parts(static_cast<std::size_t>(2 * cpu::padded(shape.width)), 0);
      std::vector<TypeParam> ignored(static_cast<std::size_t>(shape.width));
      for (Index n = 0; n < shape.rows; ++n)
        twin::normalise_backward(data.twin_norm(), n, data.x.data() + n * shape.width,
                                 data.dy.data() + n * shape.width, shape.width, ignored.data(),
                                 parts.data());
      std::vector<TypeParam> want_weight(static_cast<std::size_t>(shape.width), 1),
          want_bias = want_weight;
      auto norm = data.twin_norm();
      norm.d_weight = {want_weight.data(), adds};
      norm.d_bias = {want_bias.data(), adds};
      twin::sum_norm_parts(norm, parts.data(), 1, shape.width);
      expect_near(d_weight, want_weight, kNear<TypeParam>);
      expect_near(d_bias, want_bias, kNear<TypeParam>);
    }
}

TYPED_TEST(CudaNorm, AParameterWithoutAGradientIsLeftOut) {
  const std::vector<TypeParam> parts{1, 2, 3, 4};
  std::vector<TypeParam> d_weight(2, 0), d_bias(2, 0);
  launch(1, 32, 1, [&] {
    sum_norm_parts<TypeParam>(parts.data(), 1, 2, true, d_weight.data(), nullptr);
    sum_norm_parts<TypeParam>(parts.data(), 1, 2, true, nullptr, d_bias.data());
  });
  EXPECT_EQ(d_weight, (std::vector<TypeParam>{1, 2}));
  EXPECT_EQ(d_bias, (std::vector<TypeParam>{3, 4}));
}

}  // namespace
}  // namespace moe::kernels::cuda
