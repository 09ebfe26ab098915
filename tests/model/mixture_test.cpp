// The mixture layer against every expert over every token.

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <string>
#include <vector>

#include "moe/base/text.h"
#include "tests/model/dense_reference.h"
#include "tests/model/model_cases.h"
#include "tests/support/golden.h"
#include "tests/support/tolerance.h"

namespace moe {
namespace {

using namespace test;

struct MixtureShape {
  std::int64_t experts, top_k, batch, time;
};

/// Every K of several E, for one token and for many; and more experts than tokens can choose.
std::vector<MixtureShape> shapes() {
  std::vector<MixtureShape> all{{32, 2, 1, 3}};
  for (const std::int64_t e : {1, 2, 3, 5, 8})
    for (std::int64_t k = 1; k <= e; ++k) {
      all.push_back({e, k, 1, 1});
      all.push_back({e, k, 4, 10});
    }
  return all;
}

class MixtureTest : public testing::TestWithParam<MixtureShape> {
 protected:
  void SetUp() override { at::manual_seed(7); }

  static ModelConfig config(RouterKind router, Gate gate) {
    auto config = tiny_config();
    config.moe.num_experts = GetParam().experts;
    config.moe.top_k = GetParam().top_k;
    config.moe.router = router;
    config.moe.gate = gate;
    return config;
  }

  static void expect_dense(const ModelConfig& config, EngineKind engine);
};

at::Tensor leaf(const at::Tensor& values) { return values.clone().set_requires_grad(true); }

at::Tensor gradient_of(const at::Tensor& tensor) {
  return tensor.grad().defined() ? tensor.grad() : at::zeros_like(tensor);
}

double largest(const at::Tensor& tensor) { return tensor.abs().max().item<double>(); }

void MixtureTest::expect_dense(const ModelConfig& config, EngineKind engine) {
  const auto b = GetParam().batch, t = GetParam().time, n = b * t, c = config.n_embed;
  Built built(config, engine);
  const auto values = random_values({b, t, c}), upstream = random_values({b, t, c});
  auto context = make_context(b, t, /*training=*/true, kKey);
  context.noise = random_values({config.n_layer, n, config.moe.num_experts});

  const auto x = leaf(values);
  const auto out = built.mix(0, x, context);
  out.y.backward(upstream);

  const DenseMixture dense(built);
  const auto dense_x = leaf(values.view({n, c}));
  const auto normed = dense.input(dense_x, t);
  const auto& spec = built.model->spec().layers[0].feed_forward;
  const auto gates = spec.has_router() ? dense.gates(dense.logits(normed, context.noise[0]))
                                       : normed.new_zeros({n, 0});
  const auto y = dense_x + dense.forward(normed, gates);
  y.backward(upstream.view({n, c}));

  EXPECT_LE(relative_error(out.y.view({n, c}), y), kDouble);
  EXPECT_TRUE(at::equal(out.load, gates.gt(0).sum(0).cpu()));
  EXPECT_EQ(out.load.sum().item<std::int64_t>(), n * spec.top_k);
  EXPECT_LE(relative_error(x.grad().view({n, c}), dense_x.grad()), kDouble);
  // To the largest gradient of all: the router's is rounding alone where its gates are always 1.
  auto scale = largest(dense_x.grad());
  for (const auto& [name, weight] : dense.weights())
    scale = std::max(scale, largest(gradient_of(weight)));
  for (const auto& [name, weight] : dense.weights())
    EXPECT_LE(largest(built.gradient(name) - gradient_of(weight)), kDouble * scale) << name;
}

TEST_P(MixtureTest, EqualsAllExpertsOverAllTokensMaskedByTheGates) {
  for (const auto engine : kEngines)
    for (const auto router : {RouterKind::noisy_topk, RouterKind::topk})
      for (const auto gate : {Gate::topk_softmax, Gate::softmax_topk, Gate::sigmoid}) {
        SCOPED_TRACE(name_of(engine) + ", router " + std::to_string(static_cast<int>(router)) +
                     ", gate " + std::to_string(static_cast<int>(gate)));
        expect_dense(config(router, gate), engine);
      }
}

TEST_P(MixtureTest, EveryVariantEqualsItInDenseForm) {
  for (const auto engine : kEngines)
    for (const auto& variant : kVariants) {
      SCOPED_TRACE(name_of(engine) + ", " + variant.name);
      auto varied = config(RouterKind::noisy_topk, Gate::topk_softmax);
      variant.set(varied);
      expect_dense(varied, engine);
    }
}

TEST_P(MixtureTest, ALayerWithoutARouterIsItsMlp) {
  for (const auto engine : kEngines)
    for (const auto& variant : kDense) {
      SCOPED_TRACE(name_of(engine) + ", " + variant.name);
      auto varied = config(RouterKind::noisy_topk, Gate::topk_softmax);
      variant.set(varied);
      expect_dense(varied, engine);
    }
}

INSTANTIATE_TEST_SUITE_P(Shapes, MixtureTest, testing::ValuesIn(shapes()),
                         [](const auto& test_info) {
                           const auto& p = test_info.param;
                           return cat("E", p.experts, "_K", p.top_k, "_N", p.batch * p.time);
                         });

class TokenOrderTest : public testing::TestWithParam<EngineKind> {};

TEST_P(TokenOrderTest, PermutingTokensPermutesOutputs) {
  constexpr std::int64_t kTokens = 30;
  at::manual_seed(7);
  auto config = tiny_config();
  config.dropout = 0.2;
  Built built(config, GetParam());
  const auto x = random_values({kTokens, config.n_embed});
  const auto order = at::randperm(kTokens, at::kLong).to(test_device());
  const auto forward = [&](const at::Tensor& tokens, const ForwardContext& context) {
    const auto out = built.mix(1, tokens.unsqueeze(0), context);
    return out.y.squeeze(0).detach();
  };
  for (const bool training : {false, true}) {
    auto context = make_context(5, kTokens / 5, training, kKey);
    const auto y = forward(x, context);
    auto& rows = context.rows;  // each token takes its name along, and with it its draws
    const auto places = order.cpu();
    rows = {rows.sequence.index_select(0, places), rows.position.index_select(0, places)};
    EXPECT_LE(relative_error(forward(x.index_select(0, order), context), y.index_select(0, order)),
              kDouble)
        << "training " << training;
  }
}

INSTANTIATE_TEST_SUITE_P(Engines, TokenOrderTest, testing::ValuesIn(kEngines),
                         [](const auto& test_info) { return name_of(test_info.param); });

}  // namespace
}  // namespace moe
