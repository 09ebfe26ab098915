// Memory is planned once: what a step takes from libtorch's allocator after the first ones.

#include <c10/core/CPUAllocator.h>
#include <gtest/gtest.h>

#include "tests/train/tiny_run.h"

namespace moe {
namespace {

using namespace test;

/// Counts what is taken from the allocator that it stands before, while it lives.
class CountingAllocator : public c10::Allocator {
 public:
  CountingAllocator() : behind_(c10::GetCPUAllocator()) { c10::SetCPUAllocator(this, kPriority); }
  ~CountingAllocator() override { c10::SetCPUAllocator(behind_, kPriority); }

  c10::DataPtr allocate(std::size_t bytes) override {
    ++count;
    return behind_->allocate(bytes);
  }
  c10::DeleterFnPtr raw_deleter() const override { return behind_->raw_deleter(); }
  void copy_data(void* to, const void* from, std::size_t bytes) const override {
    behind_->copy_data(to, from, bytes);
  }

  int count = 0;

 private:
  static constexpr std::uint8_t kPriority = 255;  // above any that is there
  c10::Allocator* behind_;
};

RunConfig variant(Kernels kernels, RouterKind router, std::int64_t micro) {
  auto config = tiny_run();
  config.model.kernels = kernels;
  config.model.moe.router = router;
  config.train.grad_accumulation = micro;
  return config;
}

/// Tensor storages taken in three updates after two.
int taken_when_warm(const RunConfig& config) {
  TinyRun run(config);
  for (int i = 0; i < 2; ++i) train_step(run.state);
  const CountingAllocator counter;
  for (int i = 0; i < 3; ++i) train_step(run.state);
  return counter.count;
}

TEST(Allocations, AWarmStepOfTheFastKernelsTakesNoTensorMemory) {
  if (!test_device().is_cpu()) GTEST_SKIP() << "the workspace is the CPU's";
  EXPECT_EQ(taken_when_warm(variant(Kernels::fast, RouterKind::noisy_topk, 1)), 0);
  EXPECT_EQ(taken_when_warm(variant(Kernels::fast, RouterKind::topk, 3)), 0);
  EXPECT_EQ(taken_when_warm(tiny_muon_run()), 0);
}

TEST(Allocations, NeitherDoesOneWithSideLossesAndABias) {
  if (!test_device().is_cpu()) GTEST_SKIP() << "the workspace is the CPU's";
  auto config = variant(Kernels::fast, RouterKind::noisy_topk, 1);
  auto& moe = config.model.moe;
  moe.z_loss = 0.1;
  moe.jitter = 0.1;
  moe.balance = {{BalanceKind::switch_loss}, {BalanceKind::importance_load}};
  EXPECT_EQ(taken_when_warm(config), 0);
  config.train.grad_accumulation = 3;
  EXPECT_EQ(taken_when_warm(config), 0);
  moe.balance = {{BalanceKind::switch_loss}, {BalanceKind::loss_free}};
  EXPECT_EQ(taken_when_warm(config), 0);
}

TEST(Allocations, NeitherDoesOneWithSharedExpertsOrDenseLayers) {
  if (!test_device().is_cpu()) GTEST_SKIP() << "the workspace is the CPU's";
  auto config = variant(Kernels::fast, RouterKind::noisy_topk, 1);
  config.model.moe.shared_experts = 2;
  EXPECT_EQ(taken_when_warm(config), 0);
  config.model.moe.shared_gate = true;
  EXPECT_EQ(taken_when_warm(config), 0);
  config.model.moe.dense_layers = {0};
  EXPECT_EQ(taken_when_warm(config), 0);
  config = variant(Kernels::fast, RouterKind::noisy_topk, 1);
  config.model.moe.num_experts = 0;
  config.model.moe.shared_experts = 1;
  EXPECT_EQ(taken_when_warm(config), 0);
}

TEST(Allocations, TheCounterSeesWhatTheReferenceKernelsTake) {
  EXPECT_GT(taken_when_warm(variant(Kernels::reference, RouterKind::noisy_topk, 1)), 0);
}

}  // namespace
}  // namespace moe
