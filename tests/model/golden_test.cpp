// The model against the oracle in Python (tests/golden/make_golden.py).

#include "tests/support/golden.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <string>
#include <tuple>

#include "moe/model/build.h"
#include "moe/model/flat.h"
#include "moe/model/language_model.h"
#include "moe/optim/optim.h"
#include "tests/support/device.h"
#include "tests/support/tolerance.h"

namespace moe {
namespace {

using test::Golden;
using test::relative_error;
using test::test_device;

ModelConfig config_of(const nlohmann::json& shape, Kernels kernels) {
  ModelConfig config;
  config.n_embed = shape.at("n_embed");
  config.n_head = shape.at("n_head");
  config.n_layer = shape.at("n_layer");
  config.block_size = shape.at("block_size");
  config.moe.num_experts = shape.at("num_experts");
  config.moe.top_k = shape.at("top_k");
  config.moe.router = shape.at("router") == "topk" ? RouterKind::topk : RouterKind::noisy_topk;
  config.attention_scale = AttentionScale::n_embed;
  config.dropout = 0;
  config.kernels = kernels;
  return config;
}

/// A model with a fixture's weights, its batch, and what one forward of it needs.
struct Fixture {
  Fixture(const std::string& name, Kernels kernels, at::ScalarType type)
      : golden(test::read_golden(name)),
        model(config_of(golden.shape, kernels), golden.shape.at("vocab_size").get<std::int64_t>()),
        flat((model->to(test_device(), type), model)),
        ids(golden.at("ids").to(test_device())),
        targets(golden.at("targets").to(test_device())) {
    context = make_context(ids.size(0), ids.size(1), /*training=*/false, /*key=*/0);
    const auto noise = golden.find("noise");
    if (noise.defined()) context.noise = noise.to(test_device(), type);
    for (const auto& tensor : flat.layout())
      FlatParameters::view(flat.values(), tensor).copy_(golden.at("param." + tensor.name));
  }

  /// One forward and backward from zeroed gradients.
  LmOutput evaluate() {
    flat.gradients().zero_();
    auto out = model->forward(ids, targets, context);
    out.loss.backward();
    return out;
  }

  at::Tensor train(std::int64_t updates) {
    OptimConfig config;
    Optimizer optimizer(config, flat.values());
    const auto losses = at::empty({updates}, at::kDouble);
    for (std::int64_t update = 0; update < updates; ++update) {
      losses[update].copy_(evaluate().loss.detach());
      optimizer.step(flat.values(), flat.gradients(), config.learning_rate);
    }
    return losses;
  }

  Golden golden;
  SparseMoELanguageModel model;
  FlatParameters flat;
  at::Tensor ids, targets;
  ForwardContext context;
};

class GoldenTest : public testing::TestWithParam<std::tuple<const char*, Kernels>> {
 protected:
  static Fixture fixture(at::ScalarType type) {
    return {std::string("lm_") + std::get<0>(GetParam()), std::get<1>(GetParam()), type};
  }
};

TEST_P(GoldenTest, NamesAndShapesAreThePublishedOnes) {
  const auto f = fixture(at::kDouble);
  std::map<std::string, std::vector<std::int64_t>> ours, published;
  for (const auto& tensor : f.flat.layout()) ours[tensor.name] = tensor.shape;
  for (const auto& [name, tensor] : f.golden.tensors)
    if (name.starts_with("param.")) published[name.substr(6)] = tensor.sizes().vec();
  EXPECT_EQ(ours, published);
  EXPECT_EQ(ours.size(), f.flat.layout().size()) << "a name appears twice";
}

TEST_P(GoldenTest, PiecesCoverTheFlatBuffersOnce) {
  auto f = fixture(at::kDouble);
  const auto uses = at::zeros_like(f.flat.values());
  for (const auto& tensor : f.flat.layout()) FlatParameters::view(uses, tensor).add_(1);
  EXPECT_TRUE(uses.eq(1).all().item<bool>());
  EXPECT_EQ(f.flat.values().numel(), f.flat.table().count());
}

TEST_P(GoldenTest, ValuesAndGradientsInDouble) {
  auto f = fixture(at::kDouble);
  const auto out = f.evaluate();
  EXPECT_LE(relative_error(out.logits, f.golden.at("logits")), test::kDouble);
  EXPECT_LE(relative_error(out.loss, f.golden.at("loss")), test::kDouble);
  for (const auto& tensor : f.flat.layout()) {
    const auto& expected = f.golden.at("grad." + tensor.name);
    const auto error = relative_error(FlatParameters::view(f.flat.gradients(), tensor), expected);
    EXPECT_LE(error, test::kDouble) << tensor.name;
  }
}

TEST_P(GoldenTest, TrainingLossesInDouble) {
  auto f = fixture(at::kDouble);
  const auto& expected = f.golden.at("losses");
  EXPECT_LE(relative_error(f.train(expected.numel()), expected), test::kDouble);
}

TEST_P(GoldenTest, ValuesInFloat) {
  auto f = fixture(at::kFloat);
  const auto out = f.evaluate();
  EXPECT_LE(relative_error(out.logits, f.golden.at("logits32")), test::kFloatLogits);
  EXPECT_LE(relative_error(out.loss, f.golden.at("loss32")), test::kFloatLoss);
}

TEST_P(GoldenTest, TrainingLossesInFloat) {
  auto f = fixture(at::kFloat);
  const auto& expected = f.golden.at("losses32");
  const auto losses = f.train(expected.numel());
  EXPECT_LE(relative_error(losses.narrow(0, 0, test::kFloatEarlyUpdates),
                           expected.narrow(0, 0, test::kFloatEarlyUpdates)),
            test::kFloatEarlyLosses);
  EXPECT_LE(relative_error(losses, expected), test::kFloatLateLosses);
}

INSTANTIATE_TEST_SUITE_P(Files, GoldenTest,
                         testing::Combine(testing::Values("noisy", "topk", "all_experts",
                                                          "one_expert", "odd"),
                                          testing::Values(Kernels::fast, Kernels::reference)),
                         [](const auto& test_info) {
                           return std::string(std::get<0>(test_info.param)) +
                                  (std::get<1>(test_info.param) == Kernels::fast ? "_fast"
                                                                                 : "_reference");
                         });

TEST(PublishedShapeTest, HasItsParametersAndTensors) {
  const ModelConfig config;  // makeMoE's shape is the default
  constexpr std::int64_t kVocab = 65;
  EXPECT_EQ(count_parameters(config, kVocab), 8996545);
  const FlatParameters flat(SparseMoELanguageModel(config, kVocab));
  EXPECT_EQ(flat.values().numel(), 8996545);
  EXPECT_EQ(flat.layout().size(), 534U);
}

}  // namespace
}  // namespace moe
