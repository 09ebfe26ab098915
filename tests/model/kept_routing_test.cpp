// What a forward keeps of its routing where it is asked to: the fused layers against the modules
// composed, in double, and that asking changes nothing else.

#include <ATen/ATen.h>
#include <ATen/core/grad_mode.h>
#include <gtest/gtest.h>

#include "tests/model/model_cases.h"
#include "tests/support/golden.h"
#include "tests/support/tiny_model.h"
#include "tests/support/tolerance.h"

namespace moe {
namespace {

using namespace test;

class KeptRouting : public testing::TestWithParam<ModelCase> {
 protected:
  KeptRouting() {
    at::manual_seed(3);
    ids_ = random_ids(GetParam().batch, GetParam().time);
  }

  LmOutput forward(Built& built, bool training, bool keeps) const {
    auto context = context_of(ids_, training);
    context.keeps_routing = keeps;
    return built.model->forward(ids_, ids_, context);
  }

  at::Tensor ids_;
};

TEST_P(KeptRouting, EqualsTheReference) {
  const at::NoGradGuard no_grad;
  Built fused(config_of(GetParam())), reference(config_of(GetParam(), Kernels::reference));
  for (const bool training : {true, false}) {
    const auto got = forward(fused, training, true).routing;
    const auto want = forward(reference, training, true).routing;
    ASSERT_EQ(got.size(), static_cast<std::size_t>(GetParam().layers));
    ASSERT_EQ(want.size(), got.size());
    for (std::size_t layer = 0; layer < got.size(); ++layer) {
      EXPECT_TRUE(at::equal(got[layer].experts, want[layer].experts));
      if (!fused.model->spec().layers[layer].feed_forward.has_router()) {
        EXPECT_EQ(got[layer].gates.numel() + got[layer].logits.numel(), 0);
        continue;
      }
      EXPECT_LE(relative_error(got[layer].gates, want[layer].gates), kDouble);
      EXPECT_LE(relative_error(got[layer].logits, want[layer].logits), kDouble);
      ASSERT_EQ(got[layer].noise_std.defined(),
                fused.model->spec().layers[layer].feed_forward.router == RouterKind::noisy_topk);
      ASSERT_EQ(want[layer].noise_std.defined(), got[layer].noise_std.defined());
      if (!want[layer].noise_std.defined()) continue;
      EXPECT_LE(relative_error(got[layer].noise_std, want[layer].noise_std), kDouble);
    }
  }
}

TEST_P(KeptRouting, IsWhatTheTokensWereServedBy) {
  const at::NoGradGuard no_grad;
  for (const auto kernels : {Kernels::fast, Kernels::reference}) {
    Built built(config_of(GetParam(), kernels));
    const auto out = forward(built, /*training=*/false, true);
    for (std::int64_t layer = 0; layer < GetParam().layers; ++layer) {
      const auto index = static_cast<std::size_t>(layer);
      const auto& routing = out.routing[index];
      if (!built.model->spec().layers[index].feed_forward.has_router()) {
        EXPECT_EQ(out.expert_load[layer].sum().item<std::int64_t>(), 0);
        continue;
      }
      const auto load = at::bincount(routing.experts.flatten().cpu(), {}, GetParam().experts);
      EXPECT_TRUE(at::equal(load, out.expert_load[layer])) << name_of(kernels);
      if (GetParam().has_given_choice) continue;
      const auto gates = routing.gates;  // the largest first
      EXPECT_TRUE(at::equal(gates, std::get<0>(gates.sort(1, /*descending=*/true))));
    }
  }
}

TEST_P(KeptRouting, ChangesNoBitOfLogitsOrGradients) {
  for (const auto kernels : {Kernels::fast, Kernels::reference})
    for (const bool training : {true, false}) {
      Built built(config_of(GetParam(), kernels));
      std::vector<at::Tensor> logits, gradients;
      for (const bool keeps : {false, true}) {
        built.flat.gradients().zero_();
        const auto out = forward(built, training, keeps);
        EXPECT_EQ(out.routing.empty(), !keeps);
        total_loss(out).backward();
        logits.push_back(out.logits.detach().clone());
        gradients.push_back(built.flat.gradients().clone());
      }
      EXPECT_TRUE(at::equal(logits[0], logits[1])) << name_of(kernels);
      EXPECT_TRUE(at::equal(gradients[0], gradients[1])) << name_of(kernels);
    }
}

INSTANTIATE_TEST_SUITE_P(Shapes, KeptRouting, testing::ValuesIn(model_cases()),
                         [](const auto& shape) { return std::string(shape.param.name); });

}  // namespace
}  // namespace moe
