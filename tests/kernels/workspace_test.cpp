// Memory of a step: what lies where, when it goes back, and that nobody reads it after that.

#include "moe/kernels/workspace.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <cstdint>
#include <cstring>
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

TEST(WorkspaceTest, ACountHasNoTensors) {
  auto counting = Workspace::counting();
  EXPECT_THROW(counting.take({1}, at::kFloat), c10::Error);
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

constexpr std::array<std::int64_t, 6> kSizes{1, 64, 65, 5000, 0, 700};  // [bytes]

std::vector<void*> take_all(Workspace& workspace) {
  std::vector<void*> memory;
  for (const auto size : kSizes) memory.push_back(workspace.take_bytes(size));
  return memory;
}

TEST(WorkspaceTest, PlainMemoryIsAlignedAndTheSameAfterEachRewind) {
  Workspace workspace;
  workspace.take_bytes(3);
  const auto begin = workspace.position();
  const auto first = take_all(workspace);
  for (const auto* memory : first) EXPECT_EQ(reinterpret_cast<std::uintptr_t>(memory) % 64, 0U);
  for (int i = 0; i < 3; ++i) {
    workspace.rewind(begin);
    EXPECT_EQ(take_all(workspace), first);
  }
}

TEST(WorkspaceTest, AResetOfOneBlockGivesTheSameMemoryAgain) {
  Workspace workspace;
  const auto first = take_all(workspace);
  const auto whole = workspace.bytes();
  workspace.reset();
  EXPECT_EQ(take_all(workspace), first);
  EXPECT_EQ(workspace.bytes(), whole);
}

TEST(WorkspaceTest, GrowthLeavesWhatWasHandedOutInItsPlace) {
  constexpr std::int64_t kPiece = 700'000;  // bytes: the first block holds one of them
  Workspace workspace;
  std::vector<void*> pieces;
  std::int64_t blocks = 0;
  for (int i = 0; i < 8; ++i) {
    const auto before = workspace.bytes();
    pieces.push_back(workspace.take_bytes(kPiece));
    if (workspace.bytes() > before) ++blocks;
    std::memset(pieces.back(), i, kPiece);
  }
  EXPECT_GE(blocks, 3) << "it has to grow for this test to say anything";
  for (int i = 0; i < 8; ++i) {
    const auto* bytes = static_cast<const unsigned char*>(pieces[static_cast<std::size_t>(i)]);
    EXPECT_TRUE(std::all_of(bytes, bytes + kPiece, [&](unsigned char b) { return b == i; })) << i;
  }
}

/// Takes and gives back as a layer does; the most at once is 300 lines of 64 bytes.
void use_as_a_layer(Workspace& workspace) {
  workspace.take_bytes(100 * 64 - 5);
  const auto begin = workspace.position();
  workspace.take_bytes(150 * 64);
  workspace.take_bytes(50 * 64 - 63);
  workspace.rewind(begin);
  workspace.take_bytes(70 * 64);
}

TEST(WorkspaceTest, WhatACountFoundSufficesWithoutGrowth) {
  auto counting = Workspace::counting();
  use_as_a_layer(counting);
  EXPECT_EQ(counting.peak(), 300 * 64);
  Workspace workspace;
  workspace.reserve(counting.peak());
  EXPECT_EQ(workspace.bytes(), counting.peak());
  use_as_a_layer(workspace);
  EXPECT_EQ(workspace.bytes(), counting.peak());
  EXPECT_EQ(workspace.peak(), counting.peak());
}

TEST(WorkspaceTest, ReserveTakesWholeLinesOnceAndNothingForNothing) {
  Workspace workspace;
  workspace.reserve(0);
  EXPECT_EQ(workspace.bytes(), 0);
  workspace.reserve(65);
  EXPECT_EQ(workspace.bytes(), 128);
  workspace.reserve(1 << 20);
  EXPECT_EQ(workspace.bytes(), 128) << "there is a block";
}

TEST(WorkspaceTest, AResetCountsAGenerationAndForgetsThePeak) {
  Workspace workspace;
  workspace.take_bytes(1000);
  EXPECT_EQ(workspace.peak(), 1024);
  EXPECT_EQ(workspace.generation(), 0);
  workspace.reset();
  EXPECT_EQ(workspace.peak(), 0);
  EXPECT_EQ(workspace.generation(), 1);
  workspace.take_bytes(1);
  EXPECT_EQ(workspace.peak(), 64);
}

TEST(WorkspaceTest, WritingATensorIsNoNewVersionOfItsNeighbour) {
  Workspace workspace;
  const auto a = workspace.take({4}, at::kFloat), b = workspace.take({4}, at::kFloat);
  EXPECT_FALSE(a.is_view());
  const auto version = b._version();
  a.fill_(1);
  EXPECT_EQ(b._version(), version);
}

TEST(WorkspaceTest, WithoutAWorkspaceATensorHasMemoryOfItsOwn) {
  const auto a = take_from(nullptr, {2, 3}, at::kDouble), b = take_from(nullptr, {1}, at::kLong);
  EXPECT_EQ(a.sizes(), (std::vector<std::int64_t>{2, 3}));
  EXPECT_EQ(a.scalar_type(), at::kDouble);
  EXPECT_EQ(b.scalar_type(), at::kLong);
  EXPECT_FALSE(a.storage().is_alias_of(b.storage()));
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
  return embedding_layer(at::zeros({2, 4}, at::kLong), random({5, 8}), random({4, 8}), 0, {},
                         run_in(workspace));
}

at::Tensor attended(const at::Tensor& x, Workspace& workspace) {
  AttentionParameters parameters{};
  parameters.norm = norm();
  parameters.qkv = random({3, 8, 8});
  parameters.proj = {random({8, 8}), random({8})};
  parameters.heads = 2;
  parameters.score_scale = 0.5;
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
