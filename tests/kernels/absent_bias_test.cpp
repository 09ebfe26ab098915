// Layers without biases answer, and go back, as with biases of 0: in training, evaluation and
// decoding.

#include <ATen/ATen.h>
#include <ATen/core/grad_mode.h>
#include <gtest/gtest.h>

#include <vector>

#include "moe/kernels/layers.h"

namespace moe::kernels {
namespace {

constexpr std::int64_t kWindows = 2, kTime = 19, kWidth = 12, kExperts = 3;

at::Tensor drawn(at::IntArrayRef shape) {
  return (at::randn(shape, at::TensorOptions(at::kDouble)) * 0.3).set_requires_grad(true);
}
at::Tensor bias(bool absent, at::IntArrayRef shape) {
  return absent ? at::Tensor() : at::zeros(shape, at::TensorOptions(at::kDouble));
}
RowIds rows_of_windows(std::int64_t windows, std::int64_t time) {
  return {at::arange(windows).repeat_interleave(time), at::arange(time).repeat({windows})};
}
LayerRun run_of(std::int64_t windows, std::int64_t time) {
  LayerRun run;
  run.rows = rows_of_windows(windows, time);
  return run;
}

/// What `layer(absent)` of x yields and, for the x and the weights given, the gradients.
template <class Layer>
void expect_as_with_zeros(const Layer& layer, const std::vector<at::Tensor>& inputs) {
  std::vector<at::Tensor> outputs, gradients;
  for (const bool absent : {false, true}) {
    const auto out = layer(absent);
    const auto weights = at::linspace(-1, 1, out.numel(), out.options()).view(out.sizes());
    (out * weights).sum().backward();
    outputs.push_back(out.detach().clone());
    for (const auto& input : inputs) {
      gradients.push_back(input.grad().clone());
      input.mutable_grad().zero_();
    }
  }
  EXPECT_TRUE(at::equal(outputs[0], outputs[1]));
  for (std::size_t i = 0; i < inputs.size(); ++i)
    EXPECT_TRUE(at::equal(gradients[i], gradients[inputs.size() + i])) << "gradient " << i;
}

AttentionParameters attention_of(const std::vector<at::Tensor>& weights, bool absent) {
  AttentionParameters parameters{};
  parameters.norm = {weights[0], bias(absent, {kWidth}), 1e-5};
  parameters.qkv = weights[1];
  parameters.proj = {weights[2], bias(absent, {kWidth})};
  parameters.heads = 3;
  parameters.score_scale = 0.5;
  return parameters;
}
MixtureParameters mixture_of(const std::vector<at::Tensor>& weights, bool absent) {
  MixtureParameters parameters{};
  parameters.norm = {weights[0], bias(absent, {kWidth}), 1e-5};
  parameters.route = {weights[1], bias(absent, {kExperts})};
  parameters.noise = {weights[2], bias(absent, {kExperts})};
  parameters.w1 = weights[3];
  parameters.b1 = bias(absent, {kExperts, 2 * kWidth});
  parameters.w2 = weights[4];
  parameters.b2 = bias(absent, {kExperts, kWidth});
  parameters.gate = Gate::topk_softmax;
  parameters.top_k = 2;
  parameters.capacity = -1;
  parameters.noisy = true;
  return parameters;
}
std::vector<at::Tensor> attention_weights() {
  return {drawn({kWidth}), drawn({3, kWidth, kWidth}), drawn({kWidth, kWidth})};
}
std::vector<at::Tensor> mixture_weights() {
  return {drawn({kWidth}), drawn({kExperts, kWidth}), drawn({kExperts, kWidth}),
          drawn({kExperts, 2 * kWidth, kWidth}), drawn({kExperts, kWidth, 2 * kWidth})};
}

TEST(AbsentBias, OfAttentionIsABiasOfZeros) {
  at::manual_seed(1);
  const auto x = drawn({kWindows, kTime, kWidth});
  auto inputs = attention_weights();
  const auto weights = inputs;
  inputs.push_back(x);
  expect_as_with_zeros(
      [&](bool absent) {
        return attention_layer(x, attention_of(weights, absent), run_of(kWindows, kTime));
      },
      inputs);
}

TEST(AbsentBias, OfAMixtureIsABiasOfZeros) {
  at::manual_seed(1);
  const auto x = drawn({kWindows, kTime, kWidth});
  auto inputs = mixture_weights();
  const auto weights = inputs;
  inputs.push_back(x);
  expect_as_with_zeros(
      [&](bool absent) {
        return mixture_layer(x, mixture_of(weights, absent), run_of(kWindows, kTime)).out;
      },
      inputs);
}

TEST(AbsentBias, OfTheVocabularyIsABiasOfZeros) {
  at::manual_seed(1);
  const auto x = drawn({kWindows, kTime, kWidth}), norm = drawn({kWidth}),
             head = drawn({7, kWidth});
  const auto targets = at::arange(kWindows * kTime).remainder(7);
  expect_as_with_zeros(
      [&](bool absent) {
        const auto result =
            vocabulary_layer(x, {norm, bias(absent, {kWidth}), 1e-5}, {head, bias(absent, {7})},
                             targets, /*wants_logits=*/true, run_of(kWindows, kTime));
        return at::cat({result.logits.flatten(), result.loss.view({1})});
      },
      {norm, head, x});
}

TEST(AbsentBias, OfOneNewTokenIsABiasOfZeros) {
  const at::NoGradGuard no_grad;
  at::manual_seed(1);
  const auto weights = attention_weights(), mixture = mixture_weights();
  for (const std::int64_t sequences : {1, 5}) {  // one by one, and as a panel
    const auto x = drawn({sequences, 1, kWidth});
    std::vector<at::Tensor> outputs;
    for (const bool absent : {false, true}) {
      auto cache = make_key_values(x, kTime);
      const auto run = run_of(sequences, 1);
      const auto attended = attention_step(x, attention_of(weights, absent), run, cache, {0, 1});
      outputs.push_back(mixture_layer(attended, mixture_of(mixture, absent), run).out.clone());
    }
    EXPECT_TRUE(at::equal(outputs[0], outputs[1])) << sequences;
  }
}

}  // namespace
}  // namespace moe::kernels
