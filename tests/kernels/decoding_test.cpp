// One new token of each sequence, in double: attention step by step against all positions at once,
// and few tokens of a mixture, taken one by one, against the same tokens in panels.

#include <ATen/ATen.h>
#include <ATen/core/grad_mode.h>
#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <string>
#include <vector>

#include "moe/kernels/layers.h"
#include "tests/support/golden.h"
#include "tests/support/threads.h"

namespace moe::kernels {
namespace {

using test::relative_error;

/// Of the largest value: the same terms in another order, at most 300 in one sum, each rounded by
/// 1.1e-16, through two products and a norm. At most 4e-15 was measured.
constexpr double kOtherOrder = 1e-13;

at::Tensor normal(at::IntArrayRef shape) {
  return at::randn(shape, at::TensorOptions(at::kDouble)) * 0.5;
}
LayerRun run_over(std::int64_t sequences, std::int64_t first, std::int64_t time) {
  LayerRun run;
  run.rows = {at::arange(sequences).repeat_interleave(time),
              at::arange(first, first + time).repeat({sequences})};
  return run;
}

struct StepCase {
  const char* name;
  std::int64_t sequences, width, heads, time;
};

class AttentionSteps : public testing::TestWithParam<StepCase> {
 protected:
  AttentionSteps() {
    at::manual_seed(21);
    x_ = normal({p_.sequences, p_.time, p_.width});
    parameters_.norm = {1 + normal({p_.width}), normal({p_.width}), 1e-5};
    parameters_.qkv = normal({3, p_.width, p_.width});
    parameters_.proj = {normal({p_.width, p_.width}), normal({p_.width})};
    parameters_.heads = p_.heads;
    parameters_.score_scale = 1 / std::sqrt(static_cast<double>(p_.width / p_.heads));
  }

  KeyValues empty_cache() const { return make_key_values(x_, p_.time); }
  at::Tensor at_once(std::int64_t time, KeyValues& cache) const {
    return attention_layer(x_.narrow(1, 0, time), parameters_, run_over(p_.sequences, 0, time),
                           &cache);
  }
  /// Positions [first, T), each a step.
  at::Tensor by_steps(std::int64_t first, KeyValues& cache, Workspace* workspace = nullptr) const {
    std::vector<at::Tensor> outputs;
    for (auto t = first; t < p_.time; ++t) {
      auto run = run_over(p_.sequences, t, 1);
      run.workspace = workspace;
      outputs.push_back(attention_step(x_.narrow(1, t, 1), parameters_, run, cache, {t, t + 1}));
    }
    return at::cat(outputs, 1);
  }
  void expect_same_cache(const KeyValues& got, const KeyValues& want) const {
    const auto seen = p_.time;
    EXPECT_LE(relative_error(got.keys.narrow(2, 0, seen), want.keys.narrow(2, 0, seen)),
              kOtherOrder);
    EXPECT_LE(relative_error(got.values.narrow(1, 0, seen), want.values.narrow(1, 0, seen)),
              kOtherOrder);
  }

  const at::NoGradGuard no_grad_;
  const StepCase p_ = GetParam();
  AttentionParameters parameters_{};
  at::Tensor x_;
};

TEST_P(AttentionSteps, OneByOneAnswerAsAllPositionsAtOnce) {
  auto layers = empty_cache(), steps = empty_cache();
  const auto want = at_once(p_.time, layers);
  EXPECT_LE(relative_error(by_steps(0, steps), want), kOtherOrder);
  expect_same_cache(steps, layers);
}

TEST_P(AttentionSteps, GoOnFromThePositionsThatTheLayerSaw) {
  auto whole = empty_cache(), begun = empty_cache();
  const auto want = at_once(p_.time, whole);
  const auto first = p_.time / 2;
  at_once(first, begun);
  EXPECT_LE(relative_error(by_steps(first, begun), want.narrow(1, first, p_.time - first)),
            kOtherOrder);
  expect_same_cache(begun, whole);
}

TEST_P(AttentionSteps, ReadNothingBeyondTheirPosition) {
  auto clean = empty_cache(), dirty = empty_cache();
  dirty.keys.fill_(std::numeric_limits<double>::quiet_NaN());
  dirty.values.fill_(std::numeric_limits<double>::quiet_NaN());
  EXPECT_TRUE(at::equal(by_steps(0, dirty), by_steps(0, clean)));
}

TEST_P(AttentionSteps, AreTheSameOnAnyThreadsAndInAWorkspace) {
  const auto on = [&](int threads, Workspace* workspace) {
    const test::ThreadCount count(threads);
    auto cache = empty_cache();
    return by_steps(0, cache, workspace).clone();
  };
  const auto one = on(1, nullptr);
  Workspace workspace;
  EXPECT_TRUE(at::equal(on(3, nullptr), one));
  EXPECT_TRUE(at::equal(on(1, &workspace), one));
  EXPECT_TRUE(at::equal(on(3, &workspace), one));
}

TEST_P(AttentionSteps, AStepBeyondTheRoomOfItsCacheIsRefused) {
  auto cache = empty_cache();
  const auto room = cache.keys.size(2);
  const auto x = x_.narrow(1, 0, 1);
  attention_step(x, parameters_, run_over(p_.sequences, room - 1, 1), cache, {room - 1, room});
  EXPECT_THROW(
      attention_step(x, parameters_, run_over(p_.sequences, room, 1), cache, {room, room + 1}),
      c10::Error);
}

// Up to three sequences are taken one by one, more in panels of 16. A task has 64 rows of a weight.
INSTANTIATE_TEST_SUITE_P(Shapes, AttentionSteps,
                         testing::Values(StepCase{"one_sequence", 1, 12, 3, 19},
                                         StepCase{"three_sequences", 3, 12, 3, 19},
                                         StepCase{"four_sequences", 4, 12, 3, 19},
                                         StepCase{"twenty_sequences", 20, 12, 3, 19},
                                         StepCase{"odd_heads", 3, 35, 5, 17},
                                         StepCase{"odd_heads_in_panels", 17, 35, 5, 17},
                                         StepCase{"one_wide", 1, 1, 1, 2},
                                         StepCase{"one_head_in_panels", 4, 7, 1, 16},
                                         StepCase{"several_tasks", 2, 72, 4, 33},
                                         StepCase{"several_tasks_in_panels", 5, 72, 4, 33}),
                         [](const auto& shape) { return std::string(shape.param.name); });

struct FewCase {
  const char* name;
  std::int64_t tokens, width, hidden, experts, top_k;
  Gate gate;
  bool noisy;
};

class FewTokens : public testing::TestWithParam<FewCase> {
 protected:
  FewTokens() {
    at::manual_seed(22);
    x_ = normal({p_.tokens + kOthers, 1, p_.width});
    parameters_.norm = {1 + normal({p_.width}), normal({p_.width}), 1e-5};
    parameters_.route = {normal({p_.experts, p_.width}), normal({p_.experts})};
    if (p_.noisy) parameters_.noise = {normal({p_.experts, p_.width}), normal({p_.experts})};
    parameters_.w1 = normal({p_.experts, p_.hidden, p_.width});
    parameters_.b1 = normal({p_.experts, p_.hidden});
    parameters_.w2 = normal({p_.experts, p_.width, p_.hidden});
    parameters_.b2 = normal({p_.experts, p_.width});
    parameters_.gate = p_.gate;
    parameters_.top_k = p_.top_k;
    parameters_.capacity = -1;
    parameters_.noisy = p_.noisy;
    parameters_.noise_draw = {0x1234567890ABCDEFULL, 3};
  }

  /// Of the first so many tokens, each one of a sequence of its own.
  MixtureResult mixed(std::int64_t tokens, Workspace* workspace = nullptr) const {
    auto run = run_over(tokens, 7, 1);
    run.workspace = workspace;
    run.keeps_routing = true;
    return mixture_layer(x_.narrow(0, 0, tokens), parameters_, run);
  }
  void expect_first_of(const MixtureResult& many, const MixtureResult& few) const {
    const auto first = [&](const at::Tensor& all) { return all.narrow(0, 0, p_.tokens); };
    EXPECT_LE(relative_error(few.out, first(many.out)), kOtherOrder);
    EXPECT_TRUE(at::equal(few.routing.experts, first(many.routing.experts)));
    EXPECT_LE(relative_error(few.routing.gates, first(many.routing.gates)), kOtherOrder);
    EXPECT_LE(relative_error(few.routing.logits, first(many.routing.logits)), kOtherOrder);
  }

  static constexpr std::int64_t kOthers = 9;
  const FewCase p_ = GetParam();
  MixtureParameters parameters_{};
  at::Tensor x_;
};

TEST_P(FewTokens, AnswerAsAmongOthers) {
  const auto few = mixed(p_.tokens);
  expect_first_of(mixed(p_.tokens + kOthers), few);
  EXPECT_TRUE(at::equal(few.load, at::bincount(few.routing.experts.flatten(), {}, p_.experts)));
}

TEST_P(FewTokens, AnswerAsWithGradientsKept) {
  const auto few = mixed(p_.tokens);
  EXPECT_FALSE(few.out.requires_grad());
  x_.requires_grad_();
  const auto kept = mixed(p_.tokens);
  EXPECT_TRUE(kept.out.requires_grad());
  expect_first_of(kept, few);
  EXPECT_TRUE(at::equal(few.load, kept.load));
}

TEST_P(FewTokens, AnswerTheSameOnAnyThreadsAndInAWorkspace) {
  const auto on = [&](int threads, Workspace* workspace) {
    const test::ThreadCount count(threads);
    return mixed(p_.tokens, workspace).out.clone();
  };
  const auto one = on(1, nullptr);
  Workspace workspace;
  EXPECT_TRUE(at::equal(on(3, nullptr), one));
  EXPECT_TRUE(at::equal(on(1, &workspace), one));
  EXPECT_TRUE(at::equal(on(3, &workspace), one));
}

// Up to three tokens are taken one by one; a task has 128 hidden values of an expert.
INSTANTIATE_TEST_SUITE_P(
    Shapes, FewTokens,
    testing::Values(FewCase{"one_token", 1, 12, 48, 5, 2, Gate::topk_softmax, false},
                    FewCase{"two_tokens", 2, 12, 48, 5, 2, Gate::topk_softmax, false},
                    FewCase{"three_tokens", 3, 12, 48, 5, 2, Gate::topk_softmax, false},
                    FewCase{"noisy", 3, 12, 48, 5, 2, Gate::topk_softmax, true},
                    FewCase{"softmax_of_all", 3, 12, 48, 5, 3, Gate::softmax_topk, true},
                    FewCase{"sigmoids", 3, 12, 48, 5, 2, Gate::sigmoid, false},
                    FewCase{"every_expert", 2, 9, 36, 4, 4, Gate::topk_softmax, false},
                    FewCase{"one_expert", 3, 5, 20, 1, 1, Gate::topk_softmax, false},
                    FewCase{"one_wide", 3, 1, 3, 3, 2, Gate::topk_softmax, false},
                    FewCase{"a_whole_part", 2, 12, 128, 3, 2, Gate::topk_softmax, false},
                    FewCase{"several_parts", 3, 33, 300, 3, 2, Gate::topk_softmax, false}),
    [](const auto& shape) { return std::string(shape.param.name); });

}  // namespace
}  // namespace moe::kernels
