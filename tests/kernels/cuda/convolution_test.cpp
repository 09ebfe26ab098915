// The short convolution on the device against that of the CPU.

#include "kernels/cuda/convolution.cuh"

#include "cpu_twin.h"
#include "kernels/cuda/sums.cuh"
#include "orders.h"

namespace moe::kernels::cuda {
namespace {

using cuda_on_cpu::launch;

struct ConvolutionCase {
  const char* name;
  Index windows, time, width;
  int taps;
};
constexpr ConvolutionCase kConvolutionCases[] = {{"one token", 1, 1, 1, 3},
                                                 {"windows shorter than the taps", 4, 2, 5, 4},
                                                 {"one tap", 2, 9, 7, 1},
                                                 {"windows across stretches", 3, 50, 20, 3}};
constexpr unsigned kConvolutionGrid = 3, kConvolutionThreads = 64;

template <class T>
struct ConvolutionWorld {
  explicit ConvolutionWorld(const ConvolutionCase& shape) : c(shape) {}
  Index tokens() const { return c.windows * c.time; }
  Convolution<T> convolution() const { return {tokens(), c.width, c.time, c.taps, weight.data()}; }
  /// Rows (N, C) as the twin has them, (N, padded(C)).
  std::vector<T> padded_rows(const std::vector<T>& rows) const {
    std::vector<T> to(at(tokens() * cpu::padded(c.width)));
    for (Index i = 0; i < tokens() * c.width; ++i)
      to[at(i / c.width * cpu::padded(c.width) + i % c.width)] = rows[at(i)];
    return to;
  }

  ConvolutionCase c;
  std::vector<T> x = random_values<T>(tokens() * c.width, 1);
  std::vector<T> dy = random_values<T>(tokens() * c.width, 2);
  std::vector<T> weight = random_values<T>(c.width * c.taps, 3);
};

template <class T>
struct ConvolutionTwin {
  explicit ConvolutionTwin(const ConvolutionWorld<T>& world) : d_weight(world.weight) {
    const Index stride = cpu::padded(world.c.width), tokens = world.tokens();
    std::vector<T> turned(at(world.c.taps * stride)), parts(turned.size()), row(at(stride));
    for (Index i = 0; i < world.c.width * world.c.taps; ++i)
      turned[at(i % world.c.taps * stride + i / world.c.taps)] = world.weight[at(i)];
    auto rows = world.padded_rows(world.x), d_rows = world.padded_rows(world.dy);
    cpu::ShortConv<T> conv;
    conv.taps = world.c.taps;
    conv.time = world.c.time;
    conv.weight = turned.data();
    conv.rows = rows.data();
    conv.parts = parts.data();
    conv.d_weight = {d_weight.data(), /*adds=*/true};
    for (Index n = 0; n < tokens; ++n) {
      twin::convolve_row(conv, n, world.c.width, row.data());
      y.insert(y.end(), row.begin(), row.begin() + world.c.width);
      twin::convolve_backward(conv, n, d_rows.data() + n * stride, world.c.width, row.data(),
                              parts.data());
      dx.insert(dx.end(), row.begin(), row.begin() + world.c.width);
    }
    twin::sum_conv_parts(conv, 1, world.c.width);
  }
  std::vector<T> y, dx, d_weight;  // the last beside the weight itself
};

template <class T>
class CudaConvolution : public ::testing::Test {};
TYPED_TEST_SUITE(CudaConvolution, FloatTypes);

TYPED_TEST(CudaConvolution, RowsAndTheirGradientsAreThoseOfTheCpu) {
  for (const auto& shape : kConvolutionCases) {
    SCOPED_TRACE(shape.name);
    const ConvolutionWorld<TypeParam> world(shape);
    const auto [y, dx] = in_every_order([&](unsigned seed) {
      auto to = unwritten<TypeParam>(world.tokens() * shape.width), d_to = to;
      launch(kConvolutionGrid, kConvolutionThreads, seed,
             [&] { convolve(world.convolution(), world.x.data(), to.data()); });
      launch(kConvolutionGrid, kConvolutionThreads, seed,
             [&] { convolve_backward(world.convolution(), world.dy.data(), d_to.data()); });
      return std::tuple(to, d_to);
    });
    const ConvolutionTwin<TypeParam> want(world);
    expect_near(y, want.y, kNear<TypeParam>);
    expect_near(dx, want.dx, kNear<TypeParam>);
  }
}

TYPED_TEST(CudaConvolution, WeightsGetTheGradientsThatTheyGetOnTheCpu) {
  for (const auto& shape : kConvolutionCases) {
    SCOPED_TRACE(shape.name);
    const ConvolutionWorld<TypeParam> world(shape);
    const Index stretches = pieces(world.tokens(), kConvolutionTokens);
    const Index weights = shape.width * shape.taps;
    const auto d_weight = in_every_order([&](unsigned seed) {
      auto parts = unwritten<double>(stretches * weights);
      auto to = world.weight;
      launch(kConvolutionGrid, kConvolutionThreads, seed, [&] {
        convolution_gradient_parts(world.convolution(), world.x.data(), world.dy.data(),
                                   parts.data());
      });
      launch(2, 64, seed, [&] {
        sum_stretches(parts.data(), stretches, weights, weights, /*adds=*/true, to.data());
      });
      return to;
    });
    expect_near(d_weight, ConvolutionTwin<TypeParam>(world).d_weight,
                4 * kNear<TypeParam>);  // of 150 products
  }
}

}  // namespace
}  // namespace moe::kernels::cuda
