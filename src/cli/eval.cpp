#include <cmath>
#include <numbers>

#include "cli/options.h"
#include "cli/output.h"
#include "cli/session.h"
#include "moe/base/random.h"
#include "moe/base/system.h"
#include "moe/base/text.h"
#include "moe/cli/app.h"
#include "moe/data/corpus.h"
#include "moe/eval/evaluator.h"

namespace moe::cli {

namespace {

struct EvalArgs {
  CheckpointArgs checkpoint;
  std::string data, split, device;
  std::vector<std::string> overrides;
  bool json = false;
};

/// The tokens that are asked for: `split` of the run's text, or of --data.
struct Target {
  Tokens tokens;
  double bytes_per_token = 1;
};

/// Whether `text` is neither the text nor the validation text whose sums the checkpoint keeps.
bool is_another_text(const Text& text, const CheckpointInfo& info) {
  const auto learned = info.state.value("data_sha256", Json());
  if (!learned.is_string()) return false;
  const auto& sums = learned.get_ref<const std::string&>();
  return !sums.empty() && sums.find(text.sha256) == std::string::npos;
}

Target read_target(const EvalArgs& args, const std::string& split, const CheckpointInfo& info,
                   Log& log) {
  const auto& data = info.config.data;
  const auto path = args.data.empty() ? data.path : args.data;
  const auto& tokenizer = info.tokenizer;
  const bool own_val = args.data.empty() && !data.val_path.empty();
  const auto file = own_val && split == "val" ? data.val_path : path;
  if (file.empty()) throw DataError("eval: this run names no text of its own; give --data FILE");
  const auto text = read_text(file);
  for (const auto& notice : text.notices) log.warn(cat(file, ": ", notice));
  if (args.data.empty() && is_another_text(text, info))
    log.warn(cat(file, ": is not the text that this run was trained on (sha256 differs)"));
  auto tokens = tokenizer.encode(text.utf8, file);
  if (split != "all" && !own_val) {
    auto corpus = split_by_position(tokens, data.train_fraction, 1, file);
    tokens = std::move(split == "train" ? corpus.train : corpus.val);
  }
  if (tokens.size() < 2)
    throw DataError(
        cat(file, ": ", tokens.size(), " symbols are too few to evaluate; give at least 2"));
  const auto bytes = static_cast<double>(tokenizer.decode(tokens).size());
  const auto bytes_per_token = bytes / static_cast<double>(tokens.size());
  return {std::move(tokens), bytes_per_token};
}

int run_eval(const EvalArgs& args, const Services& services) {
  auto loaded = load_model(args.checkpoint, args.device, args.overrides, services.log);
  const auto split = !args.split.empty() ? args.split : args.data.empty() ? "val" : "all";
  const auto target = read_target(args, split, loaded.info, services.log);
  const auto& config = loaded.info.config;
  const auto key = stream_key(static_cast<std::uint64_t>(config.seed), "eval command");
  const auto begin = monotonic_seconds();
  const auto stop = [&] { return services.interrupt.signal(); };
  const bool full = config.eval.mode == EvalMode::full;
  const auto result = full ? evaluate_full(loaded.model, target.tokens, key, 0, stop)
                           : evaluate_random(loaded.model, target.tokens, key,
                                             config.eval.eval_iters, config.train.batch_size, stop);
  const auto bits = result.loss / std::numbers::ln2 / target.bytes_per_token;
  if (!std::isfinite(result.loss))
    throw NumericsError(
        cat(args.checkpoint.name, ": the loss is not finite; try an earlier checkpoint"));
  if (args.json) {
    print_json({{"checkpoint", loaded.info.ref.folder.string()},
                {"step", loaded.info.ref.step},
                {"split", split},
                {"mode", full ? "full" : "random"},
                {"loss", result.loss},
                {"perplexity", std::exp(result.loss)},
                {"bits_per_byte", bits},
                {"tokens", result.tokens},
                {"expert_load", result.expert_load},
                {"seconds", monotonic_seconds() - begin}});
    return 0;
  }
  print(cat(loaded.info.ref.folder.string(), " on ", split, ": loss ", fixed(result.loss, 4),
            " nats/token, perplexity ", fixed(std::exp(result.loss), 3), ", ", fixed(bits, 4),
            " bits/byte over ", grouped(result.tokens), " tokens\n"));
  return 0;
}

}  // namespace

void add_eval(CLI::App& app, Run& run) {
  auto* command = app.add_subcommand("eval", "Loss and perplexity of a checkpoint on a text");
  const auto args = std::make_shared<EvalArgs>();
  add_checkpoint(*command, args->checkpoint);
  add_name(*command, "--data", args->data, "UTF-8 text; default: the run's own");
  command->add_option("--split", args->split, "default: val, with --data all")
      ->check(CLI::IsMember({"train", "val", "all"}));
  add_overrides(*command, args->overrides, "e.g. eval.mode=random");
  add_name(*command, "--device", args->device, "auto, cpu, cuda or cuda:N");
  command->add_flag("--json", args->json, "print one JSON object");
  command->footer("Example:\n  makemoe eval runs/quickstart --split val --json");
  command->callback([args, &run] {
    run = [args](const Services& services) { return run_eval(*args, services); };
  });
}

}  // namespace moe::cli
