#include "moe/timing/timing.h"

#include <ATen/Parallel.h>

#include <algorithm>

#include "moe/base/error.h"
#include "moe/base/random.h"
#include "moe/base/system.h"
#include "moe/data/utf8.h"
#include "moe/eval/evaluator.h"
#include "moe/kernels/muon.h"
#include "moe/kernels/precision.h"
#include "moe/optim/optim.h"
#include "moe/sample/generator.h"
#include "moe/train/device_updates.h"
#include "moe/train/material.h"
#include "moe/train/trainer.h"

namespace moe {

namespace {

constexpr std::int64_t kVocabulary = 65;  // tinyshakespeare's
constexpr std::int64_t kRandomTokens = 100'000;
constexpr std::int64_t kWarmUp = 5, kEvalBatches = 30, kGenerated = 100;
constexpr std::int64_t kBeyond = 16, kGenerations = 5;  // tokens after the context; repeats
constexpr int kOrthogonalised = 5;                      // repeats

/// Random tokens, or the text that the config names.
struct TimedText {
  Tokenizer tokenizer;
  HeldTokens tokens;
  TextSize size;
  std::vector<NgramKeys> ngrams = {};

  Vocabulary vocabulary() const { return {tokenizer.vocab_size(), ngrams}; }
};

/// Of as many symbols as the config's own would have.
Tokenizer tokenizer_without_text(const DataConfig& data) {
  if (data.tokenizer != "char" && data.tokenizer != "bpe")
    return read_tokenizer(data.tokenizer, ErrorKind::data);
  const auto size = data.tokenizer == "char" ? kVocabulary : data.vocab_size;
  constexpr char32_t kFirst = U'0', kSurrogates = 0xD800, kPastSurrogates = 0xE000;
  std::string alphabet;
  auto symbol = kFirst;
  for (std::int64_t i = 0; i < size; ++i, ++symbol) {
    if (symbol == kSurrogates) symbol = kPastSurrogates;
    append_utf8(alphabet, symbol);
  }
  return CharTokenizer::from_text(alphabet);
}

TimedText timed_text(const RunConfig& config, Log& log) {
  if (!config.data.path.empty()) {
    auto material = read_material(config, log);
    const auto size = material.size();
    return {material.tokenizer, std::move(material.corpus.train), size, std::move(material.ngrams)};
  }
  auto tokenizer = tokenizer_without_text(config.data);
  const auto vocab = tokenizer.vocab_size();
  Generator generator(stream_key(static_cast<std::uint64_t>(config.seed), "bench"));
  Tokens tokens(kRandomTokens);
  for (auto& token : tokens)
    token = static_cast<std::int32_t>(generator.below(static_cast<std::uint64_t>(vocab)));
  auto ngrams = ngrams_of(config, vocab, tokens);
  return {std::move(tokenizer),
          std::move(tokens),
          {kRandomTokens, kRandomTokens, kRandomTokens, 0},
          std::move(ngrams)};
}

double median(std::vector<double> values) {
  std::sort(values.begin(), values.end());
  return values[values.size() / 2];
}

/// What `update` returns; a loss that is not finite is the user's.
template <class Update>
StepResult finite(const Update& update) {
  try {
    return update();
  } catch (const NonFinite&) {
    throw NumericsError("bench: the loss is not finite; lower optim.learning_rate");
  }
}

/// Updates that are started ahead, as a run makes them between two reports.
StepTimes time_updates_ahead(TrainState& state, std::int64_t steps,
                             const InterruptFlag& interrupt) {
  constexpr std::int64_t kReports = 5;
  const auto each = std::max<std::int64_t>(1, steps / kReports);
  DeviceUpdates updates(state, state.config.train.capture);
  std::vector<double> seconds;
  for (std::int64_t report = -1; report < kReports; ++report) {  // the first one warms up
    if (const auto signal = interrupt.signal()) throw Interrupted(signal);
    const auto begin = monotonic_seconds();
    for (std::int64_t i = 0; i < each; ++i) updates.start();
    finite([&] { return updates.read(); });
    if (report >= 0) seconds.push_back((monotonic_seconds() - begin) / static_cast<double>(each));
  }
  return {median(seconds), std::nullopt};
}

StepTimes time_steps(TrainState& state, std::int64_t steps, const InterruptFlag& interrupt) {
  if (DeviceUpdates::suit(state)) return time_updates_ahead(state, steps, interrupt);
  std::vector<double> seconds, data, forward, backward, update;
  for (std::int64_t i = 0; i < kWarmUp + steps; ++i) {
    if (const auto signal = interrupt.signal()) throw Interrupted(signal);
    const auto begin = monotonic_seconds();
    const auto parts = finite([&] { return train_step(state); }).seconds;
    if (i < kWarmUp) continue;
    seconds.push_back(monotonic_seconds() - begin);
    data.push_back(parts.data);
    forward.push_back(parts.forward);
    backward.push_back(parts.backward);
    update.push_back(parts.update);
  }
  return {median(seconds),
          StepSeconds{median(data), median(forward), median(backward), median(update)}};
}

/// Tokens drawn in a second, all sequences together, after a prompt of `prompt` symbols.
double generation_rate(TrainState& state, const Tokenizer& tokenizer, std::int64_t prompt,
                       std::int64_t fresh, std::int64_t sequences, const InterruptFlag& interrupt) {
  GenerateOptions options;
  options.max_new_tokens = fresh;
  options.num_samples = sequences;
  options.specials = true;  // none ends early
  const std::vector<std::int32_t> symbols(static_cast<std::size_t>(prompt), 0);
  std::vector<double> seconds;
  for (std::int64_t i = 0; i < kGenerations; ++i) {
    const auto begin = monotonic_seconds();
    generate(state.model, tokenizer, symbols, options, /*stream=*/{},
             [&] { return interrupt.signal(); });
    seconds.push_back(monotonic_seconds() - begin);
  }
  return static_cast<double>(fresh * sequences) / median(seconds);
}

GenerationRates generation_rates(TrainState& state, const Tokenizer& tokenizer,
                                 std::int64_t sequences, const InterruptFlag& interrupt) {
  const auto block = state.config.model.block_size;
  GenerationRates rates;
  if (block > 1)
    rates.within_context = generation_rate(state, tokenizer, 1, block - 1, sequences, interrupt);
  rates.beyond_context = generation_rate(state, tokenizer, block, kBeyond, sequences, interrupt);
  return rates;
}

/// Tokens a second of an evaluation by random windows.
double evaluation_rate(TrainState& state, TokenView tokens) {
  const auto batch = state.config.train.batch_size;
  evaluate_random(state.model, tokens, 0, 1, batch);
  const auto begin = monotonic_seconds();
  const auto eval = evaluate_random(state.model, tokens, 1, kEvalBatches, batch);
  return static_cast<double>(eval.tokens) / (monotonic_seconds() - begin);
}

/// Newton-Schulz on a copy of all matrices that Muon moves.
std::optional<NewtonSchulzUse> newton_schulz_use(const TrainState& state) {
  const auto& config = state.config.optim;
  const auto plan = plan_updates(config, state.flat.table());
  if (plan.muon.empty()) return std::nullopt;
  std::vector<at::Tensor> stacks;
  for (const auto& group : plan.muon)
    stacks.push_back(state.flat.values()
                         .narrow(0, group.begin, group.count)
                         .clone()
                         .view({-1, group.rows, group.columns}));
  kernels::Workspace workspace;
  std::vector<double> seconds;
  for (int i = 0; i < kOrthogonalised; ++i) {
    const auto begin = monotonic_seconds();
    kernels::orthogonalise(stacks, newton_schulz_of(config.muon), workspace);
    stacks[0].flatten()[0].item<float>();  // waits for the device
    seconds.push_back(monotonic_seconds() - begin);
  }
  auto each_update = config;
  each_update.muon.every = 1;  // as it was done here
  return NewtonSchulzUse{count_muon_flops(config, state.flat.table()),
                         count_muon_flops(each_update, state.flat.table()) / median(seconds)};
}

/// `step`: what one takes [s].
MachineUse machine_use(const TrainState& state, double step) {
  MachineUse use;
  use.machine = measure_machine(state.device);
  use.newton_schulz = newton_schulz_use(state);
  const auto work = count_step_work(state);
  const auto flops = work.products + work.newton_schulz;
  use.step_flops = flops / step;
  use.products = flops / use.machine.product;
  use.update = work.update / use.machine.memory;
  use.over_floor = step / (use.products + use.update);
  use.prediction = predict_step(work, use.machine, use.newton_schulz ? use.newton_schulz->rate : 0);
  const auto bfloat16 = state.config.train.precision == Precision::bfloat16;
  if (state.device.is_cpu() && state.config.model.kernels == Kernels::fast)
    use.product_instructions = kernels::product_instructions(bfloat16);
  return use;
}

TimingComparison comparison(TrainState& state, const TimedText& text, std::int64_t steps,
                            const InterruptFlag& interrupt) {
  TimingComparison out;
  const auto threads = at::get_num_threads();
  for (int fewer = 1; fewer < threads && state.device.is_cpu(); fewer *= 2) {
    at::set_num_threads(fewer);
    out.steps_by_threads.emplace_back(fewer, time_steps(state, steps, interrupt).step);
  }
  at::set_num_threads(threads);
  auto config = state.config;
  config.model.kernels = Kernels::reference;
  TrainState reference(config, text.vocabulary(), text.tokens, state.device);
  out.reference_step = time_steps(reference, steps, interrupt).step;
  out.reference_evaluation = evaluation_rate(reference, text.tokens);
  return out;
}

/// `process`: what was resident before the text was read [bytes].
void require_memory_to_time(const TimingRequest& request, const TimedText& text,
                            std::int64_t process) {
  auto memory = estimate_memory(request.config, text.vocabulary(), text.size, process);
  if (request.compares) {  // with another kernel, beside the first
    memory.batch *= 2;
    memory.model *= 2;
  }
  check_memory(memory);
}

}  // namespace

Timings measure_timings(const TimingRequest& request, const InterruptFlag& interrupt, Log& log) {
  const auto& config = request.config;
  check_precision(config);
  const auto process = resident_memory();
  const auto text = timed_text(config, log);
  require_memory_to_time(request, text, process);
  TrainState state(config, text.vocabulary(), text.tokens, request.device);
  const auto tokens_per_step =
      config.train.batch_size * config.model.block_size * config.train.grad_accumulation;
  Timings out;
  out.step = time_steps(state, request.steps, interrupt);
  out.train_rate = static_cast<double>(tokens_per_step) / out.step.step;
  out.evaluation_rate = evaluation_rate(state, text.tokens);
  out.generation_rate = generation_rate(state, text.tokenizer, 1, kGenerated, 1, interrupt);
  out.of_one = generation_rates(state, text.tokenizer, 1, interrupt);
  out.of_32 = generation_rates(state, text.tokenizer, 32, interrupt);
  out.threads = at::get_num_threads();
  out.peak_memory = peak_memory();  // what follows needs its own
  if (request.compares) out.comparison = comparison(state, text, request.steps, interrupt);
  out.machine = machine_use(state, out.step.step);
  return out;
}

}  // namespace moe
