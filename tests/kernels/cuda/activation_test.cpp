// Activations on the device against those of the CPU.

#include "kernels/cuda/activation.cuh"

#include "cpu_twin.h"
#include "orders.h"

namespace moe::kernels::cuda {
namespace {

using cuda_on_cpu::launch;

/// The CPU's error function and exponential are polynomials, within some 2e-7 in float.
template <class T>
constexpr double kActivationNear = sizeof(T) == sizeof(float) ? 2e-6 : 1e-12;

template <class Struct, class Value, Activation kTwin>
struct Kind {
  using F = Struct;
  using T = Value;
  static constexpr Activation kActivation = kTwin;
};
template <class T>
using KindsOf = ::testing::Types<Kind<Relu, T, Activation::relu>, Kind<Gelu, T, Activation::gelu>,
                                 Kind<Silu, T, Activation::silu>, Kind<Relu2, T, Activation::relu2>,
                                 Kind<Swiglu, T, Activation::swiglu>>;

/// Shapes (N, W): one value, no whole vectors, more than the grid's threads.
constexpr std::pair<Index, Index> kActivationShapes[] = {{1, 1}, {7, 13}, {9, 64}};

/// Arguments (N, W), or (N, 2 W) of a gated kind: among them zeros, and values far from 0.
template <class K>
std::vector<typename K::T> arguments(Index rows, Index width) {
  auto x = random_values<typename K::T>(rows * width * (K::F::kIsGated ? 2 : 1), 3);
  for (std::size_t i = 0; i < x.size(); i += 11) x[i] = 0;
  for (std::size_t i = 5; i < x.size(); i += 17) x[i] *= 30;
  return x;
}

/// The twin takes whole vectors, gates apart from what lies beside them: (N W) of each, padded.
template <class T>
std::vector<T> column(const std::vector<T>& x, Index width, Index offset, Index stride) {
  std::vector<T> values;
  for (Index row = 0; row < static_cast<Index>(x.size()) / stride; ++row)
    for (Index i = 0; i < width; ++i)
      values.push_back(x[static_cast<std::size_t>(row * stride + offset + i)]);
  values.resize(static_cast<std::size_t>(cpu::padded(static_cast<Index>(values.size()))));
  return values;
}

template <class K>
class CudaActivation : public ::testing::Test {};
class KindName {
 public:
  template <class K>
  static std::string GetName(int) {
    return std::string(EnumNames<Activation>::names[static_cast<std::size_t>(K::kActivation)]);
  }
};
TYPED_TEST_SUITE_P(CudaActivation);

TYPED_TEST_P(CudaActivation, ValuesAreThoseOfTheCpu) {
  using T = typename TypeParam::T;
  for (const auto& [rows, width] : kActivationShapes) {
    const auto x = arguments<TypeParam>(rows, width);
    const auto values = in_every_order([&, n = rows, w = width](unsigned seed) {
      auto to = unwritten<T>(n * w);
      launch(2, 64, seed, [&] { activate<typename TypeParam::F>(x.data(), n, w, to.data()); });
      return to;
    });
    const Index stride = static_cast<Index>(x.size()) / rows;
    const auto own = column(x, width, 0, stride), beside = column(x, width, stride - width, stride);
    auto want = own;
    twin::activate(TypeParam::kActivation, own.data(), beside.data(),
                   static_cast<Index>(own.size()), want.data());
    want.resize(values.size());
    expect_near(values, want, kActivationNear<T>);
  }
}

TYPED_TEST_P(CudaActivation, GradientsAreThoseOfTheCpu) {
  using T = typename TypeParam::T;
  for (const auto& [rows, width] : kActivationShapes) {
    const auto x = arguments<TypeParam>(rows, width);
    const auto d_values = random_values<T>(rows * width, 8);
    const auto d_x = in_every_order([&, n = rows, w = width](unsigned seed) {
      auto to = unwritten<T>(static_cast<Index>(x.size()));
      launch(2, 64, seed, [&] {
        activate_backward<typename TypeParam::F>(x.data(), d_values.data(), n, w, to.data());
      });
      return to;
    });
    const Index stride = static_cast<Index>(x.size()) / rows;
    const auto own = column(x, width, 0, stride), beside = column(x, width, stride - width, stride);
    auto d_beside = column(d_values, width, 0, width), d = d_beside, values = d_beside;
    twin::activate_backward(TypeParam::kActivation, own.data(), beside.data(),
                            static_cast<Index>(own.size()), d.data(), d_beside.data(),
                            values.data());
    const auto got = column(d_x, width, 0, stride);
    expect_near(got, d, kActivationNear<T>);
    if (TypeParam::F::kIsGated)
      expect_near(column(d_x, width, width, stride), d_beside, kActivationNear<T>);
  }
}

REGISTER_TYPED_TEST_SUITE_P(CudaActivation, ValuesAreThoseOfTheCpu, GradientsAreThoseOfTheCpu);
INSTANTIATE_TYPED_TEST_SUITE_P(Float, CudaActivation, KindsOf<float>, KindName);
INSTANTIATE_TYPED_TEST_SUITE_P(Double, CudaActivation, KindsOf<double>, KindName);

}  // namespace
}  // namespace moe::kernels::cuda
