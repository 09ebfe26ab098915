// The estimate that is compared with what is available before the first update.

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdint>
#include <functional>
#include <utility>
#include <vector>

#include "moe/base/error.h"
#include "moe/config/spec_of.h"
#include "moe/kernels/memory_plan.h"
#include "moe/train/trainer.h"
#include "tests/train/tiny_run.h"

namespace moe {
namespace {

using namespace test;
using testing::HasSubstr;

RunConfig on_cpu(RunConfig config) {
  config.device = "cpu";
  return config;
}

/// Without a text and a program, which are parts of their own.
std::int64_t estimate(const RunConfig& config, std::int64_t vocab_size) {
  return estimate_memory(on_cpu(config), vocab_size, {}, 0).total();
}

TEST(MemoryEstimate, IsAtLeastWhatParametersMomentsAndGradientsTake) {
  for (const std::int64_t experts : {1, 4, 32})
    for (const std::int64_t embed : {4, 64})
      for (const auto router : {RouterKind::topk, RouterKind::noisy_topk}) {
        auto config = router == RouterKind::topk ? tiny_run() : tiny_muon_run();
        config.model.moe.num_experts = experts;
        config.model.moe.top_k = 1;
        config.model.moe.router = router;
        config.model.n_embed = embed;
        const TinyRun run(config);
        const auto& state = run.state;
        auto bytes = state.flat.values().nbytes() + state.flat.gradients().nbytes();
        for (const auto& kept : state.optimizer.state()) bytes += kept.values.nbytes();
        EXPECT_GE(estimate(config, kVocab), static_cast<std::int64_t>(bytes))
            << experts << " experts of width " << embed;
      }
}

/// Shapes at edges of the kernels: whole panels and cut ones, one token, a capacity, several chunks
/// of the vocabulary.
std::vector<RunConfig> planned_shapes() {
  std::vector<RunConfig> all{tiny_run()};
  const auto add = [&](const std::function<void(RunConfig&)>& change) {
    all.push_back(tiny_run());
    change(all.back());
  };
  add([](RunConfig& c) { c.model.block_size = 17; });
  add([](RunConfig& c) { c.train.batch_size = c.model.block_size = 1; });
  add([](RunConfig& c) { c.model.n_embed = 24, c.model.n_layer = 3, c.train.batch_size = 33; });
  add([](RunConfig& c) { c.model.moe.num_experts = 9, c.model.moe.top_k = 3; });
  add([](RunConfig& c) { c.model.moe.capacity_factor = 0.5; });
  add([](RunConfig& c) { c.model.short_conv = 3; });
  add([](RunConfig& c) { c.model.x0_shortcut = true; });
  add([](RunConfig& c) { c.model.value_residual = true; });
  add([](RunConfig& c) {
    c.model.x0_shortcut = true;
    c.model.ngram = {{2, 3}, 1, {}, 0.1};
    c.model.value_residual = true;
    c.model.n_layer = 3;
  });
  add([](RunConfig& c) {
    c.model.moe.balance = {{BalanceKind::switch_loss}, {BalanceKind::importance_load}};
    c.model.moe.jitter = 0.1;
  });
  add([](RunConfig& c) {
    c.model.moe.router = RouterKind::topk;
    c.model.moe.balance = {{BalanceKind::loss_free}};
  });
  add([](RunConfig& c) { c.model.moe.shared_experts = 2; });
  add([](RunConfig& c) {
    c.model.moe.shared_experts = 1;
    c.model.moe.shared_gate = true;
    c.model.moe.capacity_factor = 0.5;
  });
  add([](RunConfig& c) { c.model.moe.dense_layers = {1}; });
  add([](RunConfig& c) { c.model.moe.num_experts = 0, c.model.moe.shared_experts = 1; });
  return all;
}

TEST(MemoryPlan, IsWhatAnUpdateTakesOfItsWorkspace) {
  for (const auto& config : planned_shapes()) {
    TinyRun run(config);
    train_step(run.state);
    const auto planned = kernels::planned_training_memory(
        run.state.model->spec(), config.train.batch_size, config.model.block_size);
    EXPECT_EQ(planned, run.state.workspace.peak());
    EXPECT_EQ(planned, run.state.workspace.bytes()) << "reserved, and no more";
  }
}

TEST(MemoryPlan, IsWhatAnEvaluationTakesOfItsWorkspace) {
  const at::NoGradGuard no_grad;
  for (const auto& config : planned_shapes()) {
    TinyRun run(config);
    const auto windows = config.train.batch_size, time = config.model.block_size;
    if (windows * time <= 16) continue;  // taken one by one, which takes less
    kernels::Workspace workspace;
    for (int pass = 0; pass < 2; ++pass) {  // the second one has one block
      workspace.reset();
      const auto ids = workspace.take({windows, time}, at::kLong).zero_();
      workspace.take({windows, time}, at::kLong);  // targets
      auto context = make_context(windows, time, /*training=*/false, 1, 0, 0, &workspace);
      context.keeps_logits = false;
      run.state.model->forward(ids, ids, context);
    }
    const auto planned = kernels::planned_evaluation_memory(run.state.model->spec(), windows, time);
    EXPECT_EQ(planned, workspace.peak());
  }
}

TEST(MemoryEstimate, OfMuonIsOneMomentumForTwoMomentsAndWhatItWorksIn) {
  auto config = tiny_run();
  config.model.n_embed = 64;
  const auto adamw = estimate(config, kVocab);
  config.optim.kind = OptimizerKind::muon;
  const ParameterTable table(spec_of(config.model, kVocab));
  const auto spared = 2 * table.count() - count_optimizer_state(config.optim, table);
  const auto matrices = config.model.n_layer * (4 + 4 * 8) * 64 * 64;
  EXPECT_EQ(spared, matrices) << "attention's four, and each of 4 experts' eight";
  EXPECT_EQ(estimate(config, kVocab), adamw - spared * std::int64_t{sizeof(float)} +
                                          count_optimizer_scratch(config.optim, table));
}

TEST(MemoryEstimate, GrowsWithEachKeyThatAPersonIsToldToLower) {
  const auto base = estimate(tiny_run(), kVocab);
  const std::vector<std::pair<const char*, std::function<void(RunConfig&)>>> keys{
      {"train.batch_size", [](RunConfig& c) { c.train.batch_size *= 2; }},
      {"model.block_size", [](RunConfig& c) { c.model.block_size *= 2; }},
      {"model.n_embed", [](RunConfig& c) { c.model.n_embed *= 2; }},
      {"model.n_layer", [](RunConfig& c) { c.model.n_layer *= 2; }},
      {"model.moe.num_experts", [](RunConfig& c) { c.model.moe.num_experts *= 2; }},
      {"model.moe.shared_experts", [](RunConfig& c) { c.model.moe.shared_experts = 1; }}};
  for (const auto& [key, raise] : keys) {
    auto config = tiny_run();
    raise(config);
    EXPECT_GT(estimate(config, kVocab), base) << key;
  }
  EXPECT_GT(estimate(tiny_run(), 2 * kVocab), base) << "vocabulary";
}

TEST(MemoryEstimate, HoldsTheExpertBySymbolMapsOfAnEvaluation) {
  auto config = tiny_run();
  config.model.moe.num_experts = 1024;
  config.model.n_embed = 2;  // few parameters: the maps are what counts
  constexpr std::int64_t kSymbols = 100'000;
  EXPECT_GT(estimate(config, kSymbols),
            config.model.n_layer * 1024 * kSymbols * std::int64_t{sizeof(std::int64_t)});
}

TEST(MemoryEstimate, OfTheLargestConfigDoesNotRunOver) {
  RunConfig config;
  config.train.batch_size = 1 << 20;
  config.model.n_embed = 16384;
  config.model.n_head = 1024;
  config.model.n_layer = 512;
  config.model.block_size = 65536;
  config.model.moe.num_experts = 1024;
  config.model.moe.top_k = 1024;
  const auto petabyte = std::int64_t{1} << 50;
  EXPECT_GT(estimate(config, 1 << 20), petabyte);
}

TEST(MemoryEstimate, CountsATextAsItIsReadAndAsItIsHeld) {
  constexpr std::int64_t kBytes = 60'000'000, kIds = 4 * kBytes;
  const TextSize text{kBytes, kBytes, kBytes, 0};
  const auto needed = estimate_memory(on_cpu(tiny_run()), kVocab, text, 0);
  EXPECT_EQ(needed.text, kIds);
  EXPECT_EQ(needed.reading, kBytes + kIds);
  EXPECT_EQ(needed.total(), kBytes + kIds) << "the peak is when the text is read";
  auto config = tiny_run();
  config.data.order = DataOrder::epoch;  // where each window begins is held too
  EXPECT_EQ(estimate_memory(config, kVocab, {800, 800, 800, 0}, 0).text, 4 * 800 + 800 / 8 * 8);
  EXPECT_EQ(estimate_memory(config, kVocab, text, 0).text, kIds + WindowSampler::kMostListed * 8)
      << "the order of more is computed";
}

TEST(MemoryEstimate, BeginsWithWhatTheProgramTakes) {
  const auto alone = estimate_memory(on_cpu(tiny_run()), kVocab, {}, 0).total();
  EXPECT_EQ(estimate_memory(on_cpu(tiny_run()), kVocab, {}, 1000).total(), alone + 1000);
}

TEST(MemoryEstimate, BatchAndModelAreTheDevicesWhichNeedNotBeThere) {
  const TextSize text{100, 100, 90, 10};
  auto config = tiny_run();
  config.device = "cuda:7";
  const auto needed = estimate_memory(config, kVocab, text, 1000);
  EXPECT_EQ(needed.cuda_device, 7);
  EXPECT_EQ(needed.on_device(), static_cast<std::int64_t>(needed.batch + needed.model));
  // The host draws the model, and copies it for each checkpoint.
  EXPECT_EQ(needed.total(), static_cast<std::int64_t>(1000 + needed.text + needed.staging));
  EXPECT_LT(needed.staging, needed.model) << "the optimizer's tensors are the device's alone";
  EXPECT_EQ(estimate_memory(on_cpu(config), kVocab, text, 1000).on_device(), 0);
}

TEST(MemoryCheck, NamesWhatToLowerOfTheLargestPart) {
  constexpr double kTooMuch = 1e17;
  const auto refusal = [](const MemoryEstimate& needed) -> std::string {
    try {
      check_memory(needed);
    } catch (const ResourceError& error) {
      return error.what();
    }
    return "accepted";
  };
  EXPECT_THAT(refusal({.batch = kTooMuch, .model = kTooMuch / 2}),
              HasSubstr("; lower train.batch_size or model.block_size"));
  EXPECT_THAT(refusal({.text = 1, .batch = 1, .model = kTooMuch}),
              HasSubstr("; lower model.n_embed, model.n_layer or model.moe.num_experts"));
  EXPECT_THAT(refusal({.text = kTooMuch, .batch = 1}), HasSubstr("; give a shorter text"));
  EXPECT_EQ(refusal({.text = 1, .batch = 1, .model = 1}), "accepted");
}

}  // namespace
}  // namespace moe
