#include "cli/gguf.h"
#include "cli/import_folder.h"
#include "cli/imported_run.h"
#include "cli/options.h"
#include "cli/session.h"
#include "moe/base/text.h"
#include "moe/cli/app.h"
#include "moe/config/load.h"
#include "moe/store/ngrams.h"

namespace moe::cli {

namespace {

struct ImportArgs {
  std::string weights, config, data, vocab, out;
  WeightValues values = WeightValues::finite;
};

/// What the weights were trained on, as far as it is told.
struct Origin {
  Tokenizer tokenizer;
  DataSums sums;  // none with --vocab: any text that the vocabulary covers may follow
};

Origin read_origin(const ImportArgs& args, const RunConfig& config, Log& log) {
  if (!args.data.empty()) {
    auto texts = read_texts(config, log);
    if (!texts.are_held())
      throw DataError(texts.text.name + ": is a token file, which has no characters; give a text");
    auto sums = texts.sums_of_held();
    return {CharTokenizer::from_text(texts.text.joined("")), std::move(sums)};
  }
  if (args.vocab.empty())
    throw ConfigError(
        "import: the vocabulary is missing; give --data TEXT or --vocab TOKENIZER.json");
  return {read_tokenizer(args.vocab, ErrorKind::data), {}};
}

/// A state_dict of the Python original, whose shape the config tells.
int import_state_dict(const ImportArgs& args, const Services& services) {
  if (args.config.empty())
    throw ConfigError("import: the model's shape is missing; give it with --config FILE");
  auto config = load_config(fs::path(args.config), {});
  if (!args.data.empty()) config.data.path = absolute_path(args.data).string();
  const auto [tokenizer, sums] = read_origin(args, config, services.log);
  const Vocabulary vocabulary(
      tokenizer.vocab_size(),
      read_ngram_keys(args.weights, config.model.ngram, tokenizer.vocab_size()));
  const auto fill = [&](FlatParameters& flat) {
    if (const auto prefix = import_weights(args.weights, flat, args.values); !prefix.empty())
      services.log.warn(
          cat(args.weights, ": the prefix \"", printable(prefix), "\" was taken off every name"));
  };
  make_imported_run({config, vocabulary, tokenizer, sums, fill}, args.out, services);
  return 0;
}

int import_file(const ImportArgs& args, const Services& services) {
  if (!is_gguf_file(args.weights)) return import_state_dict(args, services);
  if (!args.data.empty() || !args.vocab.empty())
    throw ConfigError(cat(args.data.empty() ? "--vocab" : "--data",
                          ": a GGUF file has a tokenizer of its own; leave it out"));
  import_gguf_file(args.weights, args.config, args.values, args.out, services);
  return 0;
}

int run_import(const ImportArgs& args, const Services& services) {
  if (!is_folder(args.weights, ErrorKind::checkpoint)) return import_file(args, services);
  if (!args.data.empty())
    throw ConfigError(
        "--data: a folder has a tokenizer of its own; leave it out, or name another "
        "tokenizer with --vocab");
  import_folder({args.weights, args.config, args.vocab, args.values}, args.out, services);
  return 0;
}

}  // namespace

void add_import(CLI::App& app, Run& run) {
  auto* command =
      app.add_subcommand("import", "Make a run at step 0 from weights in the formats of others");
  const auto args = std::make_shared<ImportArgs>();
  command
      ->add_option("weights", args->weights,
                   "safetensors file with the weights under the published names, a folder of "
                   "transformers, or a GGUF file")
      ->required();
  add_name(*command, "--config", args->config,
           "JSON config with the model's shape; of a folder or a GGUF file, which have their own, "
           "with all "
           "else");
  auto* data = add_name(*command, "--data", args->data,
                        "text whose symbols are the vocabulary; give this or --vocab");
  add_name(*command, "--vocab", args->vocab,
           "tokenizer.json with the vocabulary; give this or --data; default of a folder: its own; "
           "a GGUF file has one")
      ->excludes(data);
  add_name(*command, "--out", args->out, "folder of the new run; must be new or empty")->required();
  add_allow_nonfinite(*command, args->values);
  command->footer(
      "Examples:\n  makemoe import weights.safetensors --config configs/makemoe.json "
      "--data data/tinyshakespeare.txt --out runs/imported\n"
      "  makemoe import quickstart-hf --out runs/imported\n"
      "  makemoe import quickstart.gguf --out runs/imported");
  command->callback([args, &run] {
    run = [args](const Services& services) { return run_import(*args, services); };
  });
}

}  // namespace moe::cli
