// A mixture of copies of a dense model's MLPs answers as the dense model does.

#include "moe/model/upcycle.h"

#include <ATen/ATen.h>
#include <ATen/core/grad_mode.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>

#include "tests/support/golden.h"
#include "tests/support/tiny_model.h"
#include "tests/support/tolerance.h"

namespace moe {
namespace {

using namespace test;
using testing::HasSubstr;

ModelConfig dense_config() {
  auto config = tiny_config();
  config.moe.num_experts = 0;
  config.moe.shared_experts = 1;
  return config;
}
ModelConfig one_expert(Gate gate, double scale = 1) {
  auto config = tiny_config();
  config.moe.num_experts = config.moe.top_k = 1;
  config.moe.gate = gate;
  config.moe.gate_scale = scale;
  return config;
}
ModelConfig sparse_config(const ModelConfig& dense, Gate gate, std::int64_t top_k) {
  auto config = dense;
  config.moe.num_experts = 5;
  config.moe.top_k = top_k;
  config.moe.shared_experts = 0;
  config.moe.gate = gate;
  return config;
}
std::string problem(const ModelConfig& dense, const ModelConfig& sparse) {
  return upcycling_problem(spec_of(dense, kVocab), spec_of(sparse, kVocab));
}

class Upcycling : public testing::TestWithParam<EngineKind> {
 protected:
  static void expect_same(ModelConfig dense, ModelConfig sparse) {
    const at::NoGradGuard no_grad;
    at::manual_seed(7);
    ASSERT_EQ(problem(dense, sparse), "");
    Built from(dense, GetParam()), to(sparse, GetParam());
    for (const auto& tensor : from.flat.layout())  // biases too
      from.value(tensor.name).add_(random_values(tensor.shape), 0.1);
    upcycle(from.flat, to.flat);
    const auto ids = random_ids(3, 6);
    const auto logits = [&](Built& built) {
      return built.model->forward(ids, {}, context_of(ids, /*training=*/false)).logits;
    };
    EXPECT_LE(relative_error(logits(to), logits(from)), kDouble);
    const auto& w1 = to.block(1).smoe().weights().w1;
    EXPECT_TRUE(at::equal(w1[0], w1[4]));
  }
};

TEST_P(Upcycling, AnswersAsADenseModelDidWhateverTheChoice) {
  for (const auto gate : {Gate::topk_softmax, Gate::sigmoid})
    for (const std::int64_t top_k : {2, 5}) {
      expect_same(dense_config(), sparse_config(dense_config(), gate, top_k));
      expect_same(one_expert(gate), sparse_config(one_expert(gate), gate, top_k));
    }
}

TEST_P(Upcycling, KeepsTheScaleOfASigmoidGate) {
  const auto dense = one_expert(Gate::sigmoid, 1.7);
  expect_same(dense, sparse_config(dense, Gate::sigmoid, 3));
}

TEST_P(Upcycling, TakesGatedExpertsWithoutBiases) {
  auto dense = dense_config();
  dense.moe.activation = Activation::swiglu;
  dense.bias = false;
  expect_same(dense, sparse_config(dense, Gate::topk_softmax, 2));
}

INSTANTIATE_TEST_SUITE_P(Engines, Upcycling, testing::ValuesIn(kEngines),
                         [](const auto& test_info) { return name_of(test_info.param); });

TEST(UpcyclingProblems, AGateWhoseSumIsAnotherIsNamed) {
  const auto dense = dense_config();
  EXPECT_THAT(problem(dense, sparse_config(dense, Gate::softmax_topk, 2)),
              HasSubstr("model.moe.gate: the weights of the copies must sum to 1"));
  auto scaled = sparse_config(dense, Gate::sigmoid, 2);
  scaled.moe.gate_scale = 2;
  EXPECT_THAT(problem(dense, scaled), HasSubstr("must sum to 1"));
  scaled.moe.gate_scale = 1;
  scaled.moe.gate_norm = false;
  EXPECT_THAT(problem(dense, scaled), HasSubstr("must sum to 1"));
  auto open = one_expert(Gate::sigmoid);
  open.moe.gate_norm = false;
  EXPECT_THAT(problem(open, sparse_config(open, Gate::topk_softmax, 2)),
              HasSubstr("depends on the token"));
}

TEST(UpcyclingProblems, AModelThatIsNotDenseIsNamed) {
  const auto mixture = tiny_config();
  EXPECT_THAT(problem(mixture, sparse_config(mixture, Gate::topk_softmax, 2)),
              HasSubstr("layer 0 is not one plain MLP"));
  auto gated = dense_config();
  gated.moe.shared_gate = true;
  EXPECT_THAT(problem(gated, sparse_config(dense_config(), Gate::topk_softmax, 2)),
              HasSubstr("is not one plain MLP"));
  auto beside = sparse_config(dense_config(), Gate::topk_softmax, 2);
  beside.moe.shared_experts = 1;
  EXPECT_THAT(problem(dense_config(), beside), HasSubstr("nothing beside it"));
}

}  // namespace
}  // namespace moe
