#include <ATen/Parallel.h>

#include <algorithm>

#include "cli/options.h"
#include "cli/output.h"
#include "cli/session.h"
#include "moe/base/random.h"
#include "moe/base/system.h"
#include "moe/base/text.h"
#include "moe/cli/app.h"
#include "moe/config/load.h"
#include "moe/eval/evaluator.h"
#include "moe/kernels/precision.h"
#include "moe/model/build.h"
#include "moe/sample/generator.h"
#include "moe/timing/machine_rates.h"
#include "moe/train/material.h"
#include "moe/train/state.h"
#include "moe/train/trainer.h"

namespace moe::cli {

namespace {

constexpr std::int64_t kVocabulary = 65;  // tinyshakespeare's
constexpr std::int64_t kRandomTokens = 100'000;
constexpr std::int64_t kWarmUp = 5, kEvalBatches = 30, kGenerated = 100;
constexpr std::int64_t kBeyond = 16, kGenerations = 5;  // tokens after the context; repeats
constexpr std::int64_t kMostSteps = 100'000;
// What an update moves for a parameter: reads gradient, weight and both moments, writes the last
// three [B].
constexpr double kUpdateBytes = 28;

struct BenchArgs {
  std::string config;
  std::vector<std::string> overrides;
  std::int64_t steps = 30;
  bool json = false, compare = false;
};

/// Random tokens over an alphabet of kVocabulary letters, or the text that the config names.
struct BenchData {
  CharTokenizer tokenizer;
  Tokens tokens;
  TextSize size;
};

BenchData bench_data(const RunConfig& config, Log& log) {
  if (!config.data.path.empty()) {
    auto material = read_material(config, log);
    const auto size = material.size();
    return {material.tokenizer, std::move(material.corpus.train), size};
  }
  std::string alphabet;
  for (std::int64_t i = 0; i < kVocabulary; ++i) alphabet += static_cast<char>('0' + i);
  Generator generator(stream_key(static_cast<std::uint64_t>(config.seed), "bench"));
  Tokens tokens(kRandomTokens);
  for (auto& token : tokens) token = static_cast<std::int32_t>(generator.below(kVocabulary));
  return {CharTokenizer::from_text(alphabet),
          std::move(tokens),
          {kRandomTokens, kRandomTokens, kRandomTokens, 0}};
}

double median(std::vector<double> values) {
  std::sort(values.begin(), values.end());
  return values[values.size() / 2];
}

/// Medians of a step and of its parts [s].
struct StepTimes {
  double step;
  StepSeconds parts;
};

StepTimes time_steps(TrainState& state, std::int64_t steps, const Services& services) {
  std::vector<double> seconds, data, forward, backward, update;
  for (std::int64_t i = 0; i < kWarmUp + steps; ++i) {
    if (const auto signal = services.interrupt.signal()) throw Interrupted(signal);
    const auto begin = monotonic_seconds();
    StepSeconds parts;
    try {
      parts = train_step(state).seconds;
    } catch (const NonFinite&) {
      throw NumericsError("bench: the loss is not finite; lower optim.learning_rate");
    }
    if (i < kWarmUp) continue;
    seconds.push_back(monotonic_seconds() - begin);
    data.push_back(parts.data);
    forward.push_back(parts.forward);
    backward.push_back(parts.backward);
    update.push_back(parts.update);
  }
  return {median(seconds), {median(data), median(forward), median(backward), median(update)}};
}

/// Tokens drawn in a second, all sequences together, after a prompt of `prompt` symbols.
double generation_rate(TrainState& state, const CharTokenizer& tokenizer, std::int64_t prompt,
                       std::int64_t fresh, std::int64_t sequences, const Services& services) {
  GenerateOptions options;
  options.max_new_tokens = fresh;
  options.num_samples = sequences;
  const std::vector<std::int32_t> symbols(static_cast<std::size_t>(prompt), 0);
  std::vector<double> seconds;
  for (std::int64_t i = 0; i < kGenerations; ++i) {
    const auto begin = monotonic_seconds();
    generate(state.model, tokenizer, symbols, options, /*stream=*/{},
             [&] { return services.interrupt.signal(); });
    seconds.push_back(monotonic_seconds() - begin);
  }
  return static_cast<double>(fresh * sequences) / median(seconds);
}

/// Rates with the cache, from one symbol to a full context, and beyond it, where the window is
/// computed anew for each token.
Json generation_rates(TrainState& state, const CharTokenizer& tokenizer, std::int64_t sequences,
                      const Services& services) {
  const auto block = state.config.model.block_size;
  Json rates = Json::object();
  if (block > 1)
    rates["within_context"] = generation_rate(state, tokenizer, 1, block - 1, sequences, services);
  rates["beyond_context"] = generation_rate(state, tokenizer, block, kBeyond, sequences, services);
  return rates;
}

/// Tokens a second of an evaluation by random windows.
double evaluation_rate(TrainState& state, const Tokens& tokens) {
  const auto batch = state.config.train.batch_size;
  evaluate_random(state.model, tokens, 0, 1, batch);
  const auto begin = monotonic_seconds();
  const auto eval = evaluate_random(state.model, tokens, 1, kEvalBatches, batch);
  return static_cast<double>(eval.tokens) / (monotonic_seconds() - begin);
}

/// What the machine can do, what a step makes of it, and how many times the time a step takes that
/// its products and the update's memory alone would take.
Json rates(const TrainState& state, double step) {
  const auto machine = measure_machine(state.device);
  const auto& train = state.config.train;
  const auto flops = count_step_flops(state.config.model, state.model->vocab_size(),
                                      train.batch_size * train.grad_accumulation);
  const auto update = kUpdateBytes * static_cast<double>(state.flat.values().numel());
  const auto products = flops / machine.product, memory = update / machine.memory;
  Json rates{{"product_gflops", 1e-9 * machine.product},
             {"memory_gb_per_second", 1e-9 * machine.memory},
             {"train_gflops", 1e-9 * flops / step},
             {"floor_ms", {{"products", 1e3 * products}, {"update", 1e3 * memory}}},
             {"step_over_floor", step / (products + memory)}};
  if (state.device.is_cpu() && state.config.model.kernels == Kernels::fast)
    rates["product_instructions"] =
        kernels::product_instructions(train.precision == Precision::bfloat16);
  return rates;
}

/// The same training with the plain kernels, and on fewer threads.
Json comparison(TrainState& state, const BenchData& data, const BenchArgs& args,
                const Services& services) {
  Json rows = Json::object();
  const auto threads = at::get_num_threads();
  for (int fewer = 1; fewer < threads && state.device.is_cpu(); fewer *= 2) {
    at::set_num_threads(fewer);
    rows[cat("train_ms_per_step_threads_", fewer)] =
        1e3 * time_steps(state, args.steps, services).step;
  }
  at::set_num_threads(threads);
  auto config = state.config;
  config.model.kernels = Kernels::reference;
  TrainState reference(config, data.tokenizer.vocab_size(), data.tokens, state.device);
  rows["reference_train_ms_per_step"] = 1e3 * time_steps(reference, args.steps, services).step;
  rows["reference_eval_tokens_per_second"] = evaluation_rate(reference, data.tokens);
  return rows;
}

Json measure(const RunConfig& config, const BenchArgs& args, const Services& services) {
  const auto device = prepare_device(config, services.log);
  check_precision(config);
  const auto process = resident_memory();
  const auto data = bench_data(config, services.log);
  auto memory = estimate_memory(config, data.tokenizer.vocab_size(), data.size, process);
  if (args.compare) {  // with another kernel, beside the first
    memory.batch *= 2;
    memory.model *= 2;
  }
  check_memory(memory);
  TrainState state(config, data.tokenizer.vocab_size(), data.tokens, device);
  const auto times = time_steps(state, args.steps, services);
  const auto step = times.step;
  const auto tokens_per_step =
      config.train.batch_size * config.model.block_size * config.train.grad_accumulation;
  const auto& tokenizer = data.tokenizer;
  Json result = {{"train_ms_per_step", 1e3 * step},
                 {"train_tokens_per_second", static_cast<double>(tokens_per_step) / step},
                 {"train_parts_ms",
                  {{"data", 1e3 * times.parts.data},
                   {"forward", 1e3 * times.parts.forward},
                   {"backward", 1e3 * times.parts.backward},
                   {"update", 1e3 * times.parts.update}}},
                 {"eval_tokens_per_second", evaluation_rate(state, data.tokens)}};
  result["generate_tokens_per_second"] =
      generation_rate(state, tokenizer, 1, kGenerated, 1, services);
  result["generate_1_tokens_per_second"] = generation_rates(state, tokenizer, 1, services);
  result["generate_32_tokens_per_second"] = generation_rates(state, tokenizer, 32, services);
  result["threads"] = at::get_num_threads();
  result["device"] = device.str();
  result["peak_memory_bytes"] = peak_memory();  // of all above: what follows needs its own
  if (args.compare) result["compare"] = comparison(state, data, args, services);
  result["machine"] = rates(state, step);
  return result;
}

int run_bench(const BenchArgs& args, const Services& services) {
  std::optional<fs::path> file;
  if (!args.config.empty()) file = args.config;
  const auto result = measure(load_config(file, args.overrides), args, services);
  if (args.json) {
    print_json(result);
    return 0;
  }
  constexpr std::size_t kColumn = 50;
  const auto rows = result.flatten();
  for (const auto& [path, value] : rows.items()) {
    const auto key = path.substr(1);  // after the pointer's "/"
    print(cat(key, std::string(kColumn - key.size(), ' '),
              value.is_string()         ? value.get<std::string>()
              : value.is_number_float() ? fixed(value.get<double>(), 1)
                                        : json_text(value),
              "\n"));
  }
  return 0;
}

}  // namespace

void add_bench(CLI::App& app, Run& run) {
  auto* command =
      app.add_subcommand("bench", "Time training, evaluation and generation on this machine");
  const auto args = std::make_shared<BenchArgs>();
  add_name(*command, "--config", args->config, "JSON config; default: the built-in one");
  add_overrides(*command, args->overrides,
                "set a key of the config, e.g. threads=1; may be repeated");
  add_whole(*command, "--steps", args->steps, "training steps to time; default: 30",
            std::int64_t{1}, kMostSteps);
  command->add_flag("--compare", args->compare,
                    "also time fewer threads and the reference kernels (takes longer)");
  command->add_flag("--json", args->json, "print one JSON object instead of text");
  command->footer("Example:\n  makemoe bench --config configs/makemoe.json --set threads=1 --json");
  command->callback([args, &run] {
    run = [args](const Services& services) { return run_bench(*args, services); };
  });
}

}  // namespace moe::cli
