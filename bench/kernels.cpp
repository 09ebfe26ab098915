// Google-benchmark cases of the CPU kernels in float:
//   cmake --build --preset release --target moe_kernel_bench && build/moe_kernel_bench
// --benchmark_filter picks, OMP_NUM_THREADS sets the threads, MAKEMOE_CPU_LEVEL the instruction
// set.

#include <ATen/ATen.h>
#include <benchmark/benchmark.h>

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

/// One sub-layer and what it reads: kWindows windows of one shape.
template <class Layer>
struct Setting {
  explicit Setting(benchmark::State& state)
      : config(shape(state.range(0), state.range(1), state.range(2))),
        layer(config, /*layer=*/0),
        norm(torch::nn::LayerNormOptions({config.n_embed})),
        x(at::randn({kWindows, config.block_size, config.n_embed})),
        ledger({}, parameters()) {
    for (auto& parameter : layer->parameters()) parameter.detach().normal_(0, 0.05);
  }
  std::vector<at::Tensor> parameters() {
    auto all = layer->parameters();
    for (const auto& parameter : norm->parameters()) all.push_back(parameter);
    return all;
  }
  ForwardContext context() {
    workspace.reset();
    auto context =
        make_context(kWindows, config.block_size, /*training=*/true, /*key=*/1, 0, 0, &workspace);
    ledger.begin_update();
    context.gradients = &ledger;
    return context;
  }
  std::int64_t tokens() const { return kWindows * config.block_size; }

  ModelConfig config;
  Layer layer;
  torch::nn::LayerNorm norm;
  at::Tensor x;
  kernels::GradientLedger ledger;
  kernels::Workspace workspace;
};

at::Tensor run(Setting<MultiHeadAttention>& setting, const at::Tensor& x) {
  return setting.layer->fused(x, setting.norm, setting.context(), nullptr);
}
at::Tensor run(Setting<SparseMoE>& setting, const at::Tensor& x) {
  return setting.layer->fused(x, setting.norm, setting.context()).y;
}

template <class Layer>
void forward(benchmark::State& state) {
  Setting<Layer> setting(state);
  const at::NoGradGuard no_grad;
  for (auto _ : state) benchmark::DoNotOptimize(run(setting, setting.x));
  state.SetItemsProcessed(state.iterations() * setting.tokens());
}

template <class Layer>
void forward_and_backward(benchmark::State& state) {
  Setting<Layer> setting(state);
  setting.x.requires_grad_();
  const auto d_out = at::ones_like(setting.x);
  for (auto _ : state) {
    run(setting, setting.x).backward(d_out);
    setting.x.mutable_grad().reset();
  }
  state.SetItemsProcessed(state.iterations() * setting.tokens());
}

void shapes(benchmark::internal::Benchmark* benchmark) {
  benchmark->ArgNames({"n_embed", "experts", "block"})->UseRealTime();
  for (const std::int64_t embed : {128, 256, 384}) benchmark->Args({embed, 8, 32});
  benchmark->Args({128, 64, 32})->Args({128, 8, 128});
}

BENCHMARK_TEMPLATE(forward, MultiHeadAttention)->Apply(shapes);
BENCHMARK_TEMPLATE(forward_and_backward, MultiHeadAttention)->Apply(shapes);
BENCHMARK_TEMPLATE(forward, SparseMoE)->Apply(shapes);
BENCHMARK_TEMPLATE(forward_and_backward, SparseMoE)->Apply(shapes);

void head(benchmark::State& state) {
  const auto c = state.range(0);
  const auto x = at::randn({kWindows, 32, c}), weight = at::randn({kVocabulary, c});
  const auto targets = at::zeros({kWindows, 32}, at::kLong);
  const kernels::NormParameters norm{at::ones({c}), at::zeros({c}), 1e-5};
  kernels::Workspace workspace;
  for (auto _ : state) {
    workspace.reset();
    kernels::LayerRun run;
    run.workspace = &workspace;
    benchmark::DoNotOptimize(
        kernels::head_layer(x, norm, {weight, at::zeros({kVocabulary})}, targets, run));
  }
  state.SetItemsProcessed(state.iterations() * kWindows * 32);
}
BENCHMARK(head)->Arg(128)->Arg(384)->UseRealTime();

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
