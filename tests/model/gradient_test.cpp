// Gradients against finite differences, in double, for every kind of parameter.

#include <ATen/ATen.h>
#include <ATen/core/grad_mode.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <map>
#include <optional>
#include <regex>
#include <set>
#include <string>
#include <tuple>
#include <vector>

#include "tests/model/model_cases.h"
#include "tests/support/tiny_model.h"

namespace moe {
namespace {

using namespace test;

/// Step of the central difference: small, so that it crosses neither a tie of two experts nor the
/// kink of a ReLU.
constexpr double kStep = 1e-6;
/// Of the tensor's largest gradient: the difference leaves out kStep^2 times the third derivative.
constexpr double kTruncation = 1e-6;
/// A loss of about 3 is rounded at 4e-16 in each of some ten sums, over 2 * kStep.
constexpr double kRounding = 3e-9;
/// Every kind has a gradient far above kRounding, so that a missing one shows.
constexpr double kLeastGradient = 1e-5;

struct GradientCase {
  const char* name;
  RouterKind router = RouterKind::noisy_topk;
  Gate gate = Gate::topk_softmax;
  std::int64_t top_k = 2;
  double dropout = 0.2;
  std::optional<double> capacity_factor = std::nullopt;
  AttentionScale scale = AttentionScale::head_size;
  void (*set)(ModelConfig&) = nullptr;  // a Variant's
};

/// "blocks.1.smoe.experts.3.net.0.weight" -> "blocks.*.smoe.experts.*.net.0.weight"
std::string kind_of(const std::string& name) {
  static const std::regex number("(blocks|heads|experts|shared)\\.[0-9]+");
  return std::regex_replace(name, number, "$1.*");
}

/// The first and last tensor of each kind, and the one with the largest gradient: with a few tokens
/// the first and last expert may have none.
std::map<std::string, std::set<std::string>> tensors_by_kind(Built& built) {
  std::map<std::string, std::vector<std::string>> all;
  for (const auto& tensor : built.flat.trained_layout())
    all[kind_of(tensor.name)].push_back(tensor.name);
  const auto largest = [&](const std::string& name) {
    return built.gradient(name).abs().max().item<double>();
  };
  std::map<std::string, std::set<std::string>> chosen;
  for (const auto& [kind, names] : all)
    chosen[kind] = {names.front(), names.back(), std::ranges::max(names, {}, largest)};
  return chosen;
}

class GradientTest : public testing::TestWithParam<std::tuple<GradientCase, EngineKind>> {
 protected:
  GradientTest() : built_(config(), std::get<1>(GetParam())) {
    at::manual_seed(7);
    // Norms and biases away from their constants, so that none of them is a special point.
    for (const auto& tensor : built_.flat.layout())
      if (tensor.shape.size() == 1)
        built_.value(tensor.name).add_(random_values(tensor.shape), 0.1);
    ids_ = random_ids(2, 6);
    targets_ = random_ids(2, 6);
  }

  static ModelConfig config() {
    const auto& p = std::get<0>(GetParam());
    auto config = tiny_config();
    config.dropout = p.dropout;
    config.attention_scale = p.scale;
    config.moe.router = p.router;
    config.moe.gate = p.gate;
    config.moe.top_k = p.top_k;
    config.moe.capacity_factor = p.capacity_factor;
    if (p.set != nullptr) p.set(config);
    return config;
  }

  LmOutput forward() {
    return built_.model->forward(ids_, targets_, context_of(ids_, /*training=*/true));
  }

  /// (loss(+kStep) - loss(-kStep)) / (2 kStep) of one element of a tensor.
  double difference(at::Tensor element) {
    const at::NoGradGuard no_grad;
    double losses[2] = {};
    for (const int side : {0, 1}) {
      const auto before = element.clone();
      element.add_(side == 0 ? -kStep : kStep);
      const auto out = forward();
      element.copy_(before);
      losses[side] = total_loss(out).item<double>();
      // A token that takes another expert is a step in the loss, not a slope.
      EXPECT_TRUE(at::equal(out.expert_load, load_)) << "the routing flipped";
    }
    return (losses[1] - losses[0]) / (2 * kStep);
  }

  Built built_;
  at::Tensor ids_, targets_, load_;
};

TEST_P(GradientTest, EqualsCentralDifferencesForEveryKindOfParameter) {
  built_.flat.gradients().zero_();
  const auto out = forward();
  load_ = out.expert_load;
  total_loss(out).backward();
  for (const auto& [kind, names] : tensors_by_kind(built_)) {
    double largest_of_kind = 0;
    for (const auto& name : names) {
      const auto gradient = built_.gradient(name).flatten();
      const auto value = built_.value(name).view({-1});
      const auto largest = gradient.abs().max().item<double>();
      const auto n = gradient.numel();
      largest_of_kind = std::max(largest_of_kind, largest);
      for (const auto i : {gradient.abs().argmax().item<std::int64_t>(), n / 3, 2 * n / 3, n - 1})
        EXPECT_NEAR(difference(value[i]), gradient[i].item<double>(),
                    kTruncation * largest + kRounding)
            << name << " at " << i;
    }
    EXPECT_GT(largest_of_kind, kLeastGradient) << kind;
  }
}

constexpr auto kNoisy = RouterKind::noisy_topk;
constexpr auto kPlain = RouterKind::topk;

std::vector<GradientCase> gradient_cases() {
  std::vector<GradientCase> cases{
      {"noisy"},
      {"plain", kPlain},
      {"top1", kNoisy, Gate::softmax_topk, 1},
      {"all_chosen", kNoisy, Gate::topk_softmax, 4},
      {"sigmoid", kNoisy, Gate::sigmoid},
      {"no_dropout", kNoisy, Gate::topk_softmax, 2, 0},
      {"capacity", kPlain, Gate::topk_softmax, 2, 0, 0.7, AttentionScale::n_embed}};
  const auto add = [&](const Variant& variant) {
    cases.push_back({variant.name});
    cases.back().set = variant.set;
  };
  for (const auto& variant : kVariants) add(variant);
  for (const auto& variant : kDense) add(variant);
  for (const auto& variant : kRoutings) add(variant);
  return cases;
}

INSTANTIATE_TEST_SUITE_P(Shapes, GradientTest,
                         testing::Combine(testing::ValuesIn(gradient_cases()),
                                          testing::ValuesIn(kEngines)),
                         [](const auto& test_info) {
                           return std::string(std::get<0>(test_info.param).name) + "_" +
                                  name_of(std::get<1>(test_info.param));
                         });

}  // namespace
}  // namespace moe
