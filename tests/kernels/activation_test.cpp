// The activations' floats on their own, through a layer of one expert that hands them on as they
// are, against the C library in double.

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <string>
#include <vector>

#include "moe/kernels/layers.h"

namespace moe::kernels {
namespace {

/// Of 1 and of the value: the error function deviates by 1.8e-7 of itself, sums and products by
/// some 6e-8 each, of which there are a handful.
constexpr double kFloat = 1e-6;

struct Function {
  const char* name;
  Activation kind;
  double (*value)(double);
  double (*slope)(double);
};

double phi(double x) { return (1 + std::erf(x / std::sqrt(2.0))) / 2; }
double density(double x) { return std::exp(-x * x / 2) / std::sqrt(2 * M_PI); }
double sigmoid(double x) { return 1 / (1 + std::exp(-x)); }

const Function kFunctions[] = {
    {"relu", Activation::relu, [](double x) { return x > 0 ? x : 0; },
     [](double x) { return x > 0 ? 1.0 : 0.0; }},
    {"gelu", Activation::gelu, [](double x) { return x * phi(x); },
     [](double x) { return phi(x) + x * density(x); }},
    {"silu", Activation::silu, [](double x) { return x * sigmoid(x); },
     [](double x) { return sigmoid(x) * (1 + x * (1 - sigmoid(x))); }},
    {"relu2", Activation::relu2, [](double x) { return x > 0 ? x * x : 0; },
     [](double x) { return x > 0 ? 2 * x : 0; }}};

struct Answer {
  at::Tensor values, slopes;
};

/// f and its slope at every argument: up gives the arguments as its bias, down passes them on, and
/// the one expert's gate is 1. `tokens` of them take panels or, if few, one by one. `beside` are
/// the second arguments of a gated f.
Answer through_a_layer(Activation kind, const std::vector<float>& arguments, std::int64_t tokens,
                       bool wants_slopes, const std::vector<float>& beside = {}) {
  const auto n = static_cast<std::int64_t>(arguments.size());
  MixtureParameters parameters{};
  parameters.norm = {at::ones({n}), at::zeros({n}), 1e-5};
  parameters.route = {at::zeros({1, n}), {}};
  parameters.w1 = at::zeros({1, n, n});
  parameters.b1 = at::tensor(arguments).view({1, n});
  if (!beside.empty()) {
    parameters.w1 = at::zeros({1, 2, n, n});
    parameters.b1 = at::stack({parameters.b1, at::tensor(beside).view({1, n})}, 1);
  }
  parameters.b1.set_requires_grad(wants_slopes);
  parameters.w2 = at::eye(n).view({1, n, n});
  parameters.gate = Gate::topk_softmax;
  parameters.activation = kind;
  parameters.top_k = 1;
  parameters.capacity = -1;
  LayerRun run;
  run.rows = {at::zeros({tokens}, at::kLong), at::arange(tokens)};
  const auto out = mixture_layer(at::zeros({1, tokens, n}), parameters, run).out;
  Answer answer{out[0][0].detach(), {}};
  if (wants_slopes) {
    out.narrow(1, 0, 1).sum().backward();
    answer.slopes = parameters.b1.grad()[0];
  }
  return answer;
}

class ActivationTest : public testing::TestWithParam<Function> {};

TEST_P(ActivationTest, ValueAndSlopeAreThoseOfTheFormula) {
  std::vector<float> arguments;
  for (int i = -480; i <= 480; ++i) arguments.push_back(static_cast<float>(i) / 40);
  const auto panels = through_a_layer(GetParam().kind, arguments, 5, true);
  const auto few = through_a_layer(GetParam().kind, arguments, 1, false);
  for (std::size_t i = 0; i < arguments.size(); ++i) {
    const auto at = static_cast<std::int64_t>(i);
    const auto value = GetParam().value(arguments[i]), slope = GetParam().slope(arguments[i]);
    EXPECT_NEAR(panels.values[at].item<double>(), value, kFloat * (1 + std::abs(value)))
        << arguments[i];
    EXPECT_NEAR(few.values[at].item<double>(), value, kFloat * (1 + std::abs(value)))
        << arguments[i];
    EXPECT_NEAR(panels.slopes[at].item<double>(), slope, kFloat * (1 + std::abs(slope)))
        << arguments[i];
  }
}

TEST_P(ActivationTest, FarArgumentsGiveTheirLimitsAndNaNStays) {
  for (const float huge : {50.0F, 1e3F, 1e30F, 3e38F}) {
    const auto right = through_a_layer(GetParam().kind, {huge}, 5, true);
    EXPECT_EQ(right.values.item<float>(), static_cast<float>(GetParam().value(huge)));
    EXPECT_EQ(right.slopes.item<float>(), static_cast<float>(GetParam().slope(huge)));
    const auto left = through_a_layer(GetParam().kind, {-huge}, 5, true);
    EXPECT_NEAR(left.values.item<double>(), 0, kFloat) << huge;
    EXPECT_NEAR(left.slopes.item<double>(), 0, kFloat) << huge;
  }
  const auto nan = through_a_layer(GetParam().kind, {std::nanf("")}, 5, true);
  EXPECT_TRUE(std::isnan(nan.values.item<float>()));
  EXPECT_EQ(through_a_layer(GetParam().kind, {0.0F}, 5, false).values.item<float>(), 0);
  const auto least = std::numeric_limits<float>::denorm_min();
  EXPECT_NEAR(through_a_layer(GetParam().kind, {least}, 5, false).values.item<double>(), 0, kFloat);
}

/// silu(gate) * beside, and its slopes in both.
void expect_swiglu(double gate, double beside, const Answer& answer, std::int64_t at) {
  const auto silu = gate * sigmoid(gate);
  const auto slope = sigmoid(gate) * (1 + gate * (1 - sigmoid(gate))) * beside;
  EXPECT_NEAR(answer.values[at].item<double>(), silu * beside,
              kFloat * (1 + std::abs(silu * beside)));
  if (!answer.slopes.defined()) return;
  EXPECT_NEAR(answer.slopes[0][at].item<double>(), slope, kFloat * (1 + std::abs(slope)));
  EXPECT_NEAR(answer.slopes[1][at].item<double>(), silu, kFloat * (1 + std::abs(silu)));
}

TEST(Swiglu, WeighsWhatLiesBesideItsGates) {
  std::vector<float> gates, beside;
  for (int i = -480; i <= 480; ++i) {
    gates.push_back(static_cast<float>(i) / 40);
    beside.push_back(static_cast<float>(i * 7 % 13) / 5);
  }
  const auto panels = through_a_layer(Activation::swiglu, gates, 5, true, beside);
  const auto few = through_a_layer(Activation::swiglu, gates, 1, false, beside);
  for (std::size_t i = 0; i < gates.size(); ++i) {
    expect_swiglu(gates[i], beside[i], panels, static_cast<std::int64_t>(i));
    expect_swiglu(gates[i], beside[i], few, static_cast<std::int64_t>(i));
  }
}

INSTANTIATE_TEST_SUITE_P(Kinds, ActivationTest, testing::ValuesIn(kFunctions),
                         [](const auto& test_info) { return std::string(test_info.param.name); });

}  // namespace
}  // namespace moe::kernels
