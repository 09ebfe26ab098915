#include <unistd.h>

#include <algorithm>
#include <limits>
#include <random>

#include "cli/options.h"
#include "cli/output.h"
#include "cli/session.h"
#include "moe/base/system.h"
#include "moe/base/text.h"
#include "moe/cli/app.h"
#include "moe/data/corpus.h"
#include "moe/data/utf8.h"
#include "moe/sample/generator.h"

namespace moe::cli {

namespace {

constexpr std::int64_t kMostTokens = 100'000'000;
constexpr std::int64_t kMostSamples = 4096;
constexpr std::uint64_t kMostPrompt = 64U << 20U;  // [bytes]

struct GenerateArgs {
  CheckpointArgs checkpoint;
  std::string prompt, prompt_file, device;
  GenerateOptions options;
  bool has_seed = false, json = false;
};

/// A prompt and where it came from, for messages.
struct Prompt {
  std::string text, where;
};

Prompt read_prompt(const GenerateArgs& args, const Services& services) {
  if (args.prompt_file.empty()) return {args.prompt, "--prompt"};
  const bool is_stdin = args.prompt_file == "-";
  const std::string where = is_stdin ? "standard input" : args.prompt_file;
  auto text =
      clean_text(is_stdin ? read_descriptor(STDIN_FILENO, where, ErrorKind::data, kMostPrompt)
                          : read_file(where, ErrorKind::data, kMostPrompt),
                 where);
  for (const auto& notice : text.notices) services.log.warn(cat(where, ": ", notice));
  return {std::move(text.utf8), where};
}

/// The prompt's ids; from nothing, generation starts at a newline, else at symbol 0.
std::vector<std::int32_t> prompt_ids(const Prompt& prompt, const CheckpointInfo& info, Log& log) {
  if (prompt.text.empty()) return {info.tokenizer.start_id()};
  auto ids = info.tokenizer.encode(prompt.text, prompt.where);
  const auto block = info.config.model.block_size;
  if (static_cast<std::int64_t>(ids.size()) > block)
    log.warn(cat("the prompt has ", ids.size(), " symbols; the model sees the last ", block));
  return ids;
}

/// Says of each stop text with a symbol that the model does not have that it ends nothing.
void note_vain_stops(const std::vector<std::string>& stops, const Tokenizer& tokenizer, Log& log) {
  const auto* characters = tokenizer.characters();
  if (characters == nullptr) return;  // bytes can be any text
  for (const auto& stop : stops) {
    if (find_invalid_utf8(stop)) continue;  // a part of a symbol, which may come
    const auto is_unknown = [&](char32_t symbol) {
      return !std::ranges::binary_search(characters->symbols(), symbol);
    };
    if (std::ranges::any_of(decode_utf8(stop), is_unknown))
      log.warn(cat("--stop: \"", printable(stop),
                   "\" can never come: it has symbols that are not in the vocabulary"));
  }
}

void stream_one(LoadedModel& loaded, const std::string& prompt, std::span<const std::int32_t> ids,
                const GenerateArgs& args, const Services& services) {
  print(prompt);
  const auto stream = [](std::string_view text) {
    print(text);
    return true;
  };
  try {
    generate(loaded.model, loaded.info.tokenizer, ids, args.options, stream,
             [&] { return services.interrupt.signal(); });
  } catch (const Interrupted&) {
    print("\n");
    throw;
  }
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

/// What the samples take beside themselves: each with the prompt as JSON, and all as its text.
void require_memory_for_output(const GenerateArgs& args, const std::string& prompt) {
  constexpr double kJsonToken = 24;  // a number in a list and its digits [bytes]
  constexpr double kCopies = 3;      // of the prompt
  const auto& options = args.options;
  const auto each = kCopies * static_cast<double>(prompt.size()) +
                    kJsonToken * static_cast<double>(options.max_new_tokens);
  require_memory(static_cast<double>(options.num_samples) * each,
                 cat("generate: --json of ", options.num_samples, " samples needs"),
                 "lower --num-samples or --max-new-tokens, or give a shorter prompt");
}

int run_generate(GenerateArgs args, const Services& services) {
  check_sampler_options(args.options.sampler);
  if (!args.has_seed) args.options.seed = std::random_device{}();
  auto loaded = load_model(args.checkpoint, args.device, {}, services.log);
  const auto read = read_prompt(args, services);
  const auto ids = prompt_ids(read, loaded.info, services.log);
  const auto& prompt = read.text;
  note_vain_stops(args.options.stop, loaded.info.tokenizer, services.log);
  if (!args.has_seed) services.log.info(cat("seed ", args.options.seed));
  if (!args.json && args.options.num_samples == 1) {
    stream_one(loaded, prompt, ids, args, services);
    return 0;
  }
  if (args.json) require_memory_for_output(args, prompt);
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
  auto* prompt = command->add_option("--prompt", args->prompt,
                                     "text to continue; default: start on a new line");
  add_name(*command, "--prompt-file", args->prompt_file,
           "file with the text to continue; - is standard input")
      ->excludes(prompt);
  add_whole(*command, "--max-new-tokens", options.max_new_tokens, "symbols to write; default: 500",
            std::int64_t{0}, kMostTokens);
  add_whole(*command, "--num-samples", options.num_samples, "texts to write; default: 1",
            std::int64_t{1}, kMostSamples);
  auto& sampler = options.sampler;
  add_number(*command, "--temperature", sampler.temperature,
             "below 1 more predictable, above 1 more varied, 0 always the likeliest; default: 1");
  add_whole(*command, "--top-k", sampler.top_k,
            "draw from the N likeliest symbols only; default: 0, from all", std::int64_t{0},
            std::numeric_limits<std::int64_t>::max());
  add_number(*command, "--top-p", sampler.top_p,
             "draw from the fewest symbols whose probabilities sum to X; default: 1, from all");
  add_number(*command, "--min-p", sampler.min_p,
             "draw from symbols at least X times as likely as the likeliest; default: 0, from all");
  add_number(*command, "--repetition-penalty", sampler.repetition_penalty,
             "above 1 makes symbols that were seen less likely; default: 1, no penalty");
  auto* stop = command
                   ->add_option("--stop", options.stop,
                                "end before this text; may be repeated; default: none")
                   ->take_all()
                   ->allow_extra_args(false);
  auto* seed = add_whole(*command, "--seed", options.seed,
                         "same seed, same text; default: drawn at random, and reported",
                         std::uint64_t{0}, std::numeric_limits<std::uint64_t>::max());
  add_name(*command, "--device", args->device,
           "auto, cpu, cuda or cuda:N; default: auto (CUDA if there is one)");
  command->add_flag("--exact", options.exact,
                    "beyond block_size, compute each symbol from the last block_size anew, as "
                    "learned positions always do; others continue with what they remember");
  command->add_flag("--special", options.specials,
                    "print special tokens such as <|endoftext|>, and go on behind it");
  command->add_flag("--json", args->json, "print one JSON object instead of text");
  command->footer(
      "Examples:\n"
      "  makemoe generate runs/quickstart --prompt \"ROMEO:\" --temperature 0.8 --top-k 20\n"
      "  makemoe generate runs/quickstart@best --max-new-tokens 200 --seed 7 --json");
  command->callback([args, seed, stop, &run] {
    args->options.stop = stop->results();  // CLI11 would read "{}" as no text at all
    args->has_seed = seed->count() > 0;
    run = [args](const Services& services) { return run_generate(*args, services); };
  });
}

}  // namespace moe::cli
