// The vocabulary stage against norm, Linear and cross-entropy of libtorch, in double: for
// vocabularies of less than a block, of several blocks, and of several chunks.

#include <ATen/ATen.h>
#include <ATen/core/grad_mode.h>
#include <gtest/gtest.h>

#include <vector>

#include "moe/kernels/layers.h"
#include "tests/support/golden.h"
#include "tests/support/threads.h"

namespace moe::kernels {
namespace {

using test::relative_error;

/// Losses and logits: sums in another order, of at most 401 symbols.
constexpr double kSameInDouble = 1e-12;
/// Gradients: sums over up to 3000 tokens besides.
constexpr double kSameGradients = 1e-11;
constexpr double kEps = 1e-5;

struct VocabularyCase {
  const char* name;
  std::int64_t tokens, width, symbols;
};

class VocabularyTest : public testing::TestWithParam<VocabularyCase> {
 protected:
  VocabularyTest() {
    at::manual_seed(5);
    const auto& p = GetParam();
    x_ = leaf({p.tokens, p.width});
    weight_ = leaf({p.width});
    bias_ = leaf({p.width});
    head_ = leaf({p.symbols, p.width});
    head_bias_ = leaf({p.symbols});
    targets_ = at::randint(p.symbols, {p.tokens}, at::kLong);
    targets_[0] = p.symbols - 1;
  }
  static at::Tensor leaf(at::IntArrayRef shape) {
    return at::randn(shape, at::TensorOptions(at::kDouble)).set_requires_grad(true);
  }

  VocabularyResult ours(bool has_targets, bool wants_logits) const {
    return vocabulary_layer(x_, {weight_, bias_, kEps}, {head_, head_bias_},
                            has_targets ? targets_ : at::Tensor(), wants_logits, {});
  }
  VocabularyResult theirs() const {
    const auto normed = at::layer_norm(x_, x_.size(1), weight_, bias_, kEps);
    const auto logits = at::linear(normed, head_, head_bias_);
    return {logits, at::cross_entropy_loss(logits, targets_)};
  }
  /// Of everything, by `goal`.backward(), which are cleared.
  std::vector<at::Tensor> gradients(const at::Tensor& goal) const {
    goal.backward();
    std::vector<at::Tensor> all;
    for (const auto* tensor : {&x_, &weight_, &bias_, &head_, &head_bias_}) {
      all.push_back(tensor->grad().clone());
      tensor->mutable_grad().reset();
    }
    return all;
  }
  static void expect_near(const std::vector<at::Tensor>& got, const std::vector<at::Tensor>& want) {
    for (std::size_t i = 0; i < want.size(); ++i)
      EXPECT_LE(relative_error(got[i], want[i]), kSameGradients) << "gradient " << i;
  }

  at::Tensor x_, weight_, bias_, head_, head_bias_, targets_;
};

TEST_P(VocabularyTest, LogitsAloneAsDecodingWantsThemEqualLibtorch) {
  const at::NoGradGuard no_grad;
  const auto got = ours(/*has_targets=*/false, /*wants_logits=*/true);
  EXPECT_LE(relative_error(got.logits, theirs().logits), kSameInDouble);
}

TEST_P(VocabularyTest, EqualsLibtorchWithLogitsAndWithout) {
  const auto want = theirs();
  const auto want_gradients = gradients(want.loss);
  for (const bool wants_logits : {true, false}) {
    const auto got = ours(/*has_targets=*/true, wants_logits);
    EXPECT_LE(relative_error(got.loss, want.loss), kSameInDouble);
    ASSERT_EQ(got.logits.defined(), wants_logits);
    if (wants_logits) {
      EXPECT_LE(relative_error(got.logits, want.logits), kSameInDouble);
    }
    expect_near(gradients(got.loss), want_gradients);
  }
}

TEST_P(VocabularyTest, TakesGradientsOfLogitsToo) {
  const auto upstream =
      at::linspace(-1, 1, GetParam().tokens * GetParam().symbols, at::TensorOptions(at::kDouble))
          .view({GetParam().tokens, GetParam().symbols});
  const auto goal = [&](const VocabularyResult& result, bool has_loss) {
    const auto sum = (result.logits * upstream).sum();
    return has_loss ? sum + 3 * result.loss : sum;
  };
  for (const bool has_loss : {true, false})
    expect_near(gradients(goal(ours(has_loss, /*wants_logits=*/true), has_loss)),
                gradients(goal(theirs(), has_loss)));
}

TEST_P(VocabularyTest, IsTheSameForAnyNumberOfThreads) {
  const auto run = [&](int threads) {
    const test::ThreadCount count(threads);
    const auto result = ours(/*has_targets=*/true, /*wants_logits=*/false);
    auto all = gradients(result.loss);
    all.push_back(result.loss.detach());
    return all;
  };
  const auto one = run(1), three = run(3);
  for (std::size_t i = 0; i < one.size(); ++i) EXPECT_TRUE(at::equal(one[i], three[i])) << i;
}

TEST_P(VocabularyTest, GoesBackTwice) {
  const auto result = ours(/*has_targets=*/true, /*wants_logits=*/false);
  result.loss.backward({}, /*retain_graph=*/true);
  const auto once = head_.grad().clone();
  result.loss.backward();
  EXPECT_LE(relative_error(head_.grad(), once * 2), kSameGradients);
}

INSTANTIATE_TEST_SUITE_P(Shapes, VocabularyTest,
                         testing::Values(VocabularyCase{"one_symbol", 3, 4, 1},
                                         VocabularyCase{"one_token", 1, 5, 7},
                                         VocabularyCase{"one_block", 70, 12, 65},
                                         VocabularyCase{"a_whole_block", 64, 8, 192},
                                         VocabularyCase{"blocks", 70, 9, 401},
                                         VocabularyCase{"chunks", 3000, 5, 400},
                                         VocabularyCase{"two_tokens_of_many_symbols", 2, 9, 601},
                                         VocabularyCase{"a_step_of_many_symbols", 20, 9, 601}),
                         [](const auto& shape) { return std::string(shape.param.name); });

}  // namespace
}  // namespace moe::kernels
