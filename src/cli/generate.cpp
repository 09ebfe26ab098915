#include <CLI/CLI.hpp>
#include <iostream>
#include <iterator>
#include <random>

#include "cli/output.h"
#include "cli/session.h"
#include "moe/base/system.h"
#include "moe/base/text.h"
#include "moe/cli/app.h"
#include "moe/sample/generator.h"

namespace moe::cli {

namespace {

constexpr std::int64_t kMostTokens = 100'000'000;
constexpr std::int64_t kMostSamples = 4096;

struct GenerateArgs {
  CheckpointArgs checkpoint;
  std::string prompt, prompt_file, device;
  GenerateOptions options;
  bool has_seed = false, json = false;
};

std::string read_prompt(const GenerateArgs& args) {
  if (args.prompt_file.empty()) return args.prompt;
  if (args.prompt_file != "-") return read_file(args.prompt_file, ErrorKind::data, 64U << 20U);
  return {std::istreambuf_iterator<char>(std::cin), std::istreambuf_iterator<char>()};
}

/// The prompt's ids; from nothing, generation starts at a newline, else at symbol 0.
std::vector<std::int32_t> prompt_ids(const std::string& prompt, const CheckpointInfo& info,
                                     Log& log) {
  if (prompt.empty()) return {info.tokenizer.start_id()};
  auto ids = info.tokenizer.encode(prompt, "--prompt");
  const auto block = info.config.model.block_size;
  if (static_cast<std::int64_t>(ids.size()) > block)
    log.warn(cat("the prompt has ", ids.size(), " symbols; the model sees the last ", block));
  return ids;
}

void stream_one(LoadedModel& loaded, const std::string& prompt, std::span<const std::int32_t> ids,
                const GenerateArgs& args, const Services& services) {
  print(prompt);
  const auto stream = [](std::string_view text) {
    print(text);
    return true;
  };
  generate(loaded.model, loaded.info.tokenizer, ids, args.options, stream,
           [&] { return services.interrupt.signal(); });
  print("\n");
}

void print_samples(const std::vector<Sample>& samples, const std::string& prompt) {
  for (std::size_t i = 0; i < samples.size(); ++i)
    print(cat("--- sample ", i + 1, " of ", samples.size(), "\n", prompt, samples[i].text, "\n"));
}

Json samples_to_json(const std::vector<Sample>& samples, const std::string& prompt) {
  auto list = Json::array();
  for (const auto& sample : samples)
    list.push_back({{"prompt", prompt},
                    {"text", sample.text},
                    {"token_ids", sample.token_ids},
                    {"finish", sample.finish}});
  return list;
}

int run_generate(GenerateArgs args, const Services& services) {
  check_sampler_options(args.options.sampler);
  if (!args.has_seed) args.options.seed = std::random_device{}();
  auto loaded = load_model(args.checkpoint, args.device, {}, services.log);
  const auto prompt = read_prompt(args);
  const auto ids = prompt_ids(prompt, loaded.info, services.log);
  if (!args.has_seed) services.log.info(cat("seed ", args.options.seed));
  if (!args.json && args.options.num_samples == 1) {
    stream_one(loaded, prompt, ids, args, services);
    return 0;
  }
  const auto begin = monotonic_seconds();
  const auto samples = generate(loaded.model, loaded.info.tokenizer, ids, args.options, {},
                                [&] { return services.interrupt.signal(); });
  std::size_t tokens = 0;
  for (const auto& sample : samples) tokens += sample.token_ids.size();
  const auto seconds = std::max(1e-9, monotonic_seconds() - begin);
  if (args.json)
    print_json({{"samples", samples_to_json(samples, prompt)},
                {"seed", args.options.seed},
                {"tokens_per_second", static_cast<double>(tokens) / seconds}});
  else
    print_samples(samples, prompt);
  return 0;
}

}  // namespace

void add_generate(CLI::App& app, Run& run) {
  auto* command = app.add_subcommand("generate", "Write text with a checkpoint");
  const auto args = std::make_shared<GenerateArgs>();
  auto& options = args->options;
  add_checkpoint(*command, args->checkpoint);
  auto* prompt = command->add_option("--prompt", args->prompt, "text to go on from");
  command
      ->add_option("--prompt-file", args->prompt_file, "file with the prompt; - for standard input")
      ->excludes(prompt);
  command->add_option("--max-new-tokens", options.max_new_tokens, "default 500 [tokens]")
      ->check(CLI::Range(std::int64_t{0}, kMostTokens));
  command->add_option("--num-samples", options.num_samples, "default 1")
      ->check(CLI::Range(std::int64_t{1}, kMostSamples));
  command->add_option("--temperature", options.sampler.temperature, "0 is greedy; default 1");
  command->add_option("--top-k", options.sampler.top_k, "keep the k likeliest; 0: all");
  command->add_option("--top-p", options.sampler.top_p, "keep the smallest set with this mass");
  command->add_option("--min-p", options.sampler.min_p,
                      "keep at least this share of the likeliest");
  command->add_option("--repetition-penalty", options.sampler.repetition_penalty,
                      "above 1 makes seen symbols less likely");
  command->add_option("--stop", options.stop, "end before this text; may be repeated")
      ->take_all()
      ->allow_extra_args(false);
  auto* seed = command->add_option("--seed", options.seed, "default: drawn, and reported");
  command->add_option("--device", args->device, "auto, cpu, cuda or cuda:N");
  command->add_flag("--json", args->json, "print one JSON object");
  command->footer(
      "Examples:\n"
      "  makemoe generate runs/quickstart --prompt \"ROMEO:\" --temperature 0.8 --top-k 20\n"
      "  makemoe generate runs/quickstart@best --max-new-tokens 200 --seed 7 --json");
  command->callback([args, seed, &run] {
    args->has_seed = seed->count() > 0;
    run = [args](const Services& services) { return run_generate(*args, services); };
  });
}

}  // namespace moe::cli
