// Google-benchmark cases of the CPU kernels in float:
//   cmake --build --preset release --target moe_kernel_bench && build/moe_kernel_bench
// --benchmark_filter picks, OMP_NUM_THREADS sets the threads, MAKEMOE_CPU_LEVEL the instruction
// set.

#include <ATen/ATen.h>
#include <benchmark/benchmark.h>

#include "model/engine.h"
#include "moe/config/spec_of.h"
#include "moe/kernels/adamw.h"
#include "moe/kernels/draws.h"
#include "moe/model/context.h"
#include "moe/model/language_model.h"

namespace {

using namespace moe;

constexpr std::int64_t kWindows = 16, kVocabulary = 65;

ModelConfig shape(std::int64_t embed, std::int64_t experts, std::int64_t block) {
  ModelConfig config;
  config.n_embed = embed;
  config.block_size = block;
  config.moe.num_experts = experts;
  return config;
}

/// Attention or mixture of a Block, from norm to residual.
enum class Part { attention, mixture };

/// One part and what it reads: kWindows windows of one shape.
template <Part kPart>
struct Setting {
  explicit Setting(benchmark::State& state)
      : config(shape(state.range(0), state.range(1), state.range(2))),
        block(spec_of(config, kVocabulary), /*layer=*/0),
        x(at::randn({kWindows, config.block_size, config.n_embed})),
        ledger({}, block->parameters()) {
    for (auto& parameter : block->parameters()) parameter.detach().normal_(0, 0.05);
  }
  at::Tensor run() {
    workspace.reset();
    auto context =
        make_context(kWindows, config.block_size, /*training=*/true, /*key=*/1, 0, 0, &workspace);
    ledger.begin_update();
    context.gradients = &ledger;
    if (kPart == Part::mixture) return fused_engine().mix(*block, x, context, /*cache=*/nullptr).y;
    SkipSources none;
    return fused_engine().attend(*block, x, context, /*cache=*/nullptr, none);
  }
  std::int64_t tokens() const { return kWindows * config.block_size; }

  ModelConfig config;
  Block block;
  at::Tensor x;
  kernels::GradientLedger ledger;
  kernels::Workspace workspace;
};

template <Part kPart>
void forward(benchmark::State& state) {
  Setting<kPart> setting(state);
  const at::NoGradGuard no_grad;
  for (auto _ : state) benchmark::DoNotOptimize(setting.run());
  state.SetItemsProcessed(state.iterations() * setting.tokens());
}

template <Part kPart>
void forward_and_backward(benchmark::State& state) {
  Setting<kPart> setting(state);
  setting.x.requires_grad_();
  const auto d_out = at::ones_like(setting.x);
  for (auto _ : state) {
    setting.run().backward(d_out);
    setting.x.mutable_grad().reset();
  }
  state.SetItemsProcessed(state.iterations() * setting.tokens());
}

void shapes(benchmark::internal::Benchmark* benchmark) {
  benchmark->ArgNames({"n_embed", "experts", "block"})->UseRealTime();
  for (const std::int64_t embed : {128, 256, 384}) benchmark->Args({embed, 8, 32});
  benchmark->Args({128, 64, 32})->Args({128, 8, 128});
}

BENCHMARK_TEMPLATE(forward, Part::attention)->Apply(shapes);
BENCHMARK_TEMPLATE(forward_and_backward, Part::attention)->Apply(shapes);
BENCHMARK_TEMPLATE(forward, Part::mixture)->Apply(shapes);
BENCHMARK_TEMPLATE(forward_and_backward, Part::mixture)->Apply(shapes);

/// Norm, head and loss, without logits.
struct VocabularySetting {
  explicit VocabularySetting(benchmark::State& state)
      : x(at::randn({kWindows, 32, state.range(0)})),
        weight(at::randn({state.range(1), state.range(0)}) * 0.1),
        bias(at::zeros({state.range(1)})),
        targets(at::randint(state.range(1), {kWindows, 32}, at::kLong)),
        norm{at::ones({state.range(0)}), at::zeros({state.range(0)}), 1e-5} {}
  at::Tensor loss() {
    workspace.reset();
    kernels::LayerRun run;
    run.workspace = &workspace;
    return kernels::vocabulary_layer(x, norm, {weight, bias}, targets, /*wants_logits=*/false, run)
        .loss;
  }

  at::Tensor x, weight, bias, targets;
  kernels::NormParameters norm;
  kernels::Workspace workspace;
};

/// Items are multiplications and additions of products, 2 N C V.
void vocabulary_forward(benchmark::State& state) {
  VocabularySetting setting(state);
  for (auto _ : state) benchmark::DoNotOptimize(setting.loss());
  state.SetItemsProcessed(state.iterations() * 2 * kWindows * 32 * state.range(0) * state.range(1));
}

/// The same, 6 N C V.
void vocabulary_training(benchmark::State& state) {
  VocabularySetting setting(state);
  for (auto* tensor : {&setting.x, &setting.weight, &setting.bias}) tensor->requires_grad_();
  for (auto _ : state) {
    setting.loss().backward();
    setting.x.mutable_grad().reset();
  }
  state.SetItemsProcessed(state.iterations() * 6 * kWindows * 32 * state.range(0) * state.range(1));
}

void vocabularies(benchmark::internal::Benchmark* benchmark) {
  benchmark->ArgNames({"n_embed", "symbols"})->UseRealTime();
  for (const std::int64_t symbols : {65, 6001, 8192, 50000}) benchmark->Args({128, symbols});
  benchmark->Args({384, 65});
}
BENCHMARK(vocabulary_forward)->Apply(vocabularies);
BENCHMARK(vocabulary_training)->Apply(vocabularies);

void adamw(benchmark::State& state) {
  const auto count = state.range(0);
  auto parameters = at::zeros({count}), gradients = at::randn({count});
  auto exp_avg = at::zeros({count}), exp_avg_sq = at::zeros({count});
  for (auto _ : state)
    kernels::adamw(parameters, gradients, exp_avg, exp_avg_sq, {1e-3, 0.9, 0.999, 1e-8, 0.01, 1});
  state.SetBytesProcessed(state.iterations() * count * 28);
}
BENCHMARK(adamw)->Arg(1 << 16)->Arg(9'000'000)->UseRealTime();

void sum_of_squares(benchmark::State& state) {
  const auto values = at::randn({state.range(0)});
  for (auto _ : state) benchmark::DoNotOptimize(kernels::sum_of_squares(values));
  state.SetBytesProcessed(state.iterations() * state.range(0) * 4);
}
BENCHMARK(sum_of_squares)->Arg(1 << 16)->Arg(9'000'000)->UseRealTime();

/// Items are draws.
template <at::Tensor (*kDraw)(const kernels::RowIds&, const at::Tensor&)>
void draws(benchmark::State& state) {
  const auto rows = make_context(kWindows, 32, true, 0).rows;
  const auto like = at::empty({0});
  for (auto _ : state) benchmark::DoNotOptimize(kDraw(rows, like));
  state.SetItemsProcessed(state.iterations() * kWindows * 32 * 128);
}
at::Tensor masks(const kernels::RowIds& rows, const at::Tensor& like) {
  return kernels::dropout_mask(rows, 128, 0.1, {1, 2}, like);
}
at::Tensor normals(const kernels::RowIds& rows, const at::Tensor& like) {
  return kernels::normal_draws(rows, 128, {1, 2}, like);
}
BENCHMARK_TEMPLATE(draws, masks)->UseRealTime();
BENCHMARK_TEMPLATE(draws, normals)->UseRealTime();

}  // namespace

BENCHMARK_MAIN();
