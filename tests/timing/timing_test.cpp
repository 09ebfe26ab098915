#include "moe/timing/timing.h"

#include <ATen/Parallel.h>
#include <gtest/gtest.h>

#include <csignal>

#include "moe/base/error.h"
#include "tests/support/device.h"
#include "tests/support/threads.h"

namespace moe {
namespace {

TimingRequest small_request() {
  TimingRequest request;
  auto& config = request.config;
  config.model.n_embed = 16;
  config.model.n_head = 2;
  config.model.n_layer = 1;
  config.model.block_size = 8;
  config.model.moe.num_experts = 4;
  config.train.batch_size = 4;
  request.device = test::test_device();
  request.steps = 1;
  return request;
}

/// `on_device`: updates are started ahead, and their parts overlap.
void expect_times(const StepTimes& times, bool on_device) {
  EXPECT_GT(times.step, 0);
  ASSERT_EQ(times.parts.has_value(), !on_device);
  if (on_device) return;
  EXPECT_GT(times.parts->data, 0);
  EXPECT_GT(times.parts->forward, 0);
  EXPECT_GT(times.parts->backward, 0);
  EXPECT_GT(times.parts->update, 0);
  EXPECT_GT(times.step, times.parts->forward + times.parts->backward);
}

TEST(Timing, MeasuresEachThingThatItNames) {
  const test::ThreadCount threads(2);
  const InterruptFlag interrupt;
  Log log;
  auto request = small_request();
  request.compares = true;
  const auto timings = measure_timings(request, interrupt, log);
  expect_times(timings.step, !request.device.is_cpu());
  for (const auto rate : {timings.train_rate, timings.evaluation_rate, timings.generation_rate,
                          timings.of_one.beyond_context, timings.of_32.beyond_context})
    EXPECT_GT(rate, 0);
  for (const auto& rates : {timings.of_one, timings.of_32})
    EXPECT_GT(rates.within_context.value_or(0), 0);
  EXPECT_EQ(timings.threads, 2);
  EXPECT_GT(timings.peak_memory, 0);
  ASSERT_TRUE(timings.comparison);
  EXPECT_GT(timings.comparison->reference_step, 0);
  EXPECT_GT(timings.comparison->reference_evaluation, 0);
  const auto& fewer = timings.comparison->steps_by_threads;
  ASSERT_EQ(fewer.size(), request.device.is_cpu() ? 1U : 0U);
  for (const auto& [count, step] : fewer) {
    EXPECT_EQ(count, 1);
    EXPECT_GT(step, 0);
  }
  EXPECT_GT(timings.machine.over_floor, 0);
  EXPECT_EQ(timings.machine.product_instructions.empty(), !request.device.is_cpu());
  EXPECT_EQ(at::get_num_threads(), 2) << "put back after the comparison";
}

TEST(Timing, TellsNewtonSchulzApartWhereMuonMovesTheMatrices) {
  const InterruptFlag interrupt;
  Log log;
  auto request = small_request();
  EXPECT_FALSE(measure_timings(request, interrupt, log).machine.newton_schulz);
  request.config.optim.kind = OptimizerKind::muon;
  const auto each = measure_timings(request, interrupt, log).machine.newton_schulz;
  request.config.optim.muon.every = 2;
  const auto second = measure_timings(request, interrupt, log).machine.newton_schulz;
  ASSERT_TRUE(each && second);
  EXPECT_GT(each->rate, 0);
  EXPECT_LT(second->flops, each->flops);
}

TEST(Timing, OfAContextOfOneSymbolHasNoRateWithinIt) {
  const InterruptFlag interrupt;
  Log log;
  auto request = small_request();
  request.config.model.block_size = 1;
  const auto timings = measure_timings(request, interrupt, log);
  EXPECT_FALSE(timings.of_one.within_context);
  EXPECT_GT(timings.of_one.beyond_context, 0);
  EXPECT_FALSE(timings.comparison);
}

TEST(Timing, EndsWhereASignalAsksToStop) {
  const InterruptFlag interrupt;
  Log log;
  std::raise(SIGTERM);
  EXPECT_THROW(measure_timings(small_request(), interrupt, log), Interrupted);
}

}  // namespace
}  // namespace moe
