// Memory of a step: what lies where, when it goes back, and that nobody reads it after that.

#include "moe/kernels/workspace.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <cstdint>
#include <functional>
#include <string>
#include <utility>
#include <vector>

#include "kernels/layer_call.h"
#include "moe/kernels/layers.h"

namespace moe::kernels {
namespace {

std::uintptr_t address(const at::Tensor& tensor) {
  return reinterpret_cast<std::uintptr_t>(tensor.const_data_ptr());
}

TEST(WorkspaceTest, CountsWithoutHandingOut) {
  auto counting = Workspace::counting();
  EXPECT_EQ(counting.take_bytes(100), nullptr);
  const auto position = counting.position();
  counting.take_bytes(1000);
  counting.rewind(position);
  counting.take_bytes(1);
  EXPECT_EQ(counting.peak(), 128 + 1024) << "whole lines, the most at once";
  EXPECT_EQ(counting.bytes(), 0);
}

TEST(WorkspaceTest, TensorsAreAlignedAndApart) {
  Workspace workspace;
  const auto a = workspace.take({3, 5}, at::kFloat).fill_(1);
  const auto b = workspace.take({7}, at::kLong).fill_(2);
  for (const auto& tensor : {a, b}) EXPECT_EQ(address(tensor) % 64, 0U);
  EXPECT_TRUE(a.eq(1).all().item<bool>());
  EXPECT_TRUE(b.eq(2).all().item<bool>());
}

TEST(WorkspaceTest, RewindGivesBackWhatCameLaterAndKeepsWhatCameBefore) {
  Workspace workspace;
  const auto kept = workspace.take({100}, at::kFloat).fill_(3);
  const auto begin = workspace.position();
  const auto first = address(workspace.take({50}, at::kFloat));
  workspace.rewind(begin);
  const auto again = workspace.take({50}, at::kFloat).fill_(4);
  EXPECT_EQ(address(again), first);
  EXPECT_TRUE(kept.eq(3).all().item<bool>());
}

TEST(WorkspaceTest, RewindGoesBackOverBlocks) {
  Workspace workspace;
  workspace.take({1000}, at::kFloat);
  const auto begin = workspace.position();
  const auto first = address(workspace.take({10}, at::kFloat));
  workspace.take({1 << 20}, at::kFloat);  // a block of its own
  workspace.rewind(begin);
  EXPECT_EQ(address(workspace.take({10}, at::kFloat)), first);
}

TEST(WorkspaceTest, AfterAResetOneBlockHoldsWhatTookSeveral) {
  Workspace workspace;
  const auto round = [&] {
    for (int i = 0; i < 4; ++i) workspace.take({1 << 19}, at::kFloat);
  };
  round();
  workspace.reset();
  const auto whole = workspace.bytes();
  for (int i = 0; i < 3; ++i) {
    round();
    workspace.reset();
    EXPECT_EQ(workspace.bytes(), whole);
  }
}

TEST(WorkspaceTest, ScratchGoesBackWithItsTasks) {
  Workspace workspace;
  Memory memory(&workspace, at::kFloat);
  memory.values<float>(10);
  const auto before = workspace.position();
  run_with_scratch<float>(4, memory, 1000, [](std::int64_t, float* room) { room[999] = 1; });
  EXPECT_EQ(workspace.position().block, before.block);
  EXPECT_EQ(workspace.position().used, before.used);
}

// Shapes of the layers below: B 2, T 4, C 8, E 3, K 2, F 16, V 5.

at::Tensor random(at::IntArrayRef sizes) { return at::randn(sizes, at::kDouble).requires_grad_(); }
NormParameters norm() { return {random({8}), random({8}), 1e-5}; }

LayerRun run_in(Workspace& workspace) {
  LayerRun run;
  run.rows = {at::arange(2).repeat_interleave(4), at::arange(4).repeat({2})};
  run.workspace = &workspace;
  return run;
}

at::Tensor embedded(const at::Tensor& /*x*/, Workspace& workspace) {
  return embedding_layer(at::zeros({2, 4}, at::kLong), random({5, 8}), random({4, 8}), 0,
                         run_in(workspace));
}

at::Tensor attended(const at::Tensor& x, Workspace& workspace) {
  AttentionParameters parameters{
      norm(), random({3, 8, 8}), {random({8, 8}), random({8})}, 2, 0.5, {}, {}};
  return attention_layer(x, parameters, run_in(workspace));
}

at::Tensor mixed(const at::Tensor& x, Workspace& workspace) {
  MixtureParameters parameters{};
  parameters.norm = norm();
  parameters.route = {random({3, 8}), random({3})};
  parameters.w1 = random({3, 16, 8});
  parameters.b1 = random({3, 16});
  parameters.w2 = random({3, 8, 16});
  parameters.b2 = random({3, 8});
  parameters.gate = Gate::topk_softmax;
  parameters.top_k = 2;
  parameters.capacity = -1;
  return mixture_layer(x, parameters, run_in(workspace)).out;
}

at::Tensor answered(const at::Tensor& x, Workspace& workspace) {
  return vocabulary_layer(x, norm(), {random({5, 8}), random({5})}, {}, /*wants_logits=*/true,
                          run_in(workspace))
      .logits;
}

TEST(WorkspaceTest, NoLayerGoesBackwardAfterAReset) {
  using Layer = std::function<at::Tensor(const at::Tensor&, Workspace&)>;
  for (const auto& [name, layer] :
       std::vector<std::pair<std::string, Layer>>{{"embedding", embedded},
                                                  {"attention", attended},
                                                  {"mixture", mixed},
                                                  {"head", answered}}) {
    SCOPED_TRACE(name);
    Workspace workspace;
    const auto x = random({2, 4, 8});
    EXPECT_NO_THROW(layer(x, workspace).sum().backward());
    const auto sum = layer(x, workspace).sum();
    workspace.reset();
    EXPECT_THROW(sum.backward(), c10::Error);
  }
}

}  // namespace
}  // namespace moe::kernels
