#include <cmath>
#include <numbers>

#include "cli/options.h"
#include "cli/output.h"
#include "cli/session.h"
#include "cli/target.h"
#include "moe/base/random.h"
#include "moe/base/system.h"
#include "moe/base/text.h"
#include "moe/cli/app.h"
#include "moe/eval/evaluator.h"
#include "moe/eval/inspect.h"

namespace moe::cli {

namespace {

struct EvalArgs {
  CheckpointArgs checkpoint;
  TextArgs text;
  std::string device;
  std::vector<std::string> overrides;
  bool json = false, logprobs = false;
};

/// What a router did in each layer, for JSON: (L) MaxVio, and (L, E) shares of the gates; null and
/// [] for a layer without one.
Json balance_to_json(const RoutingTallies& tallies) {
  auto max_vio = Json::array(), gate_mass = Json::array();
  for (const auto& tally : tallies) {
    if (!tally.has_router()) {
      max_vio.push_back(nullptr);
      gate_mass.push_back(Json::array());
      continue;
    }
    const auto health = health_of(tally);
    max_vio.push_back(health.max_vio);
    gate_mass.push_back(health.gate_mass);
  }
  return {{"max_vio", max_vio}, {"gate_mass", gate_mass}};
}

/// (T, V) as lists of lists.
Json rows_to_json(const at::Tensor& values) {
  auto rows = Json::array();
  const auto on_host = values.to(at::kDouble).contiguous();
  const auto* from = on_host.const_data_ptr<double>();
  for (std::int64_t row = 0; row < on_host.size(0); ++row, from += on_host.size(1))
    rows.push_back(std::vector<double>(from, from + on_host.size(1)));
  return rows;
}

int run_eval(const EvalArgs& args, const Services& services) {
  if (args.logprobs && !args.json)
    throw ConfigError("--logprobs: is a part of the JSON object; give --json too");
  auto loaded = load_model(args.checkpoint, args.device, args.overrides, services.log);
  const auto target = read_target(args.text, loaded.info, services.log);
  const auto& config = loaded.info.config;
  const auto key = stream_key(static_cast<std::uint64_t>(config.seed), "eval command");
  const auto begin = monotonic_seconds();
  const auto stop = [&] { return services.interrupt.signal(); };
  const bool full = config.eval.mode == EvalMode::full;
  const auto stride = config.eval.stride.value_or(config.model.block_size);
  auto tallies = make_tallies(loaded.model);
  auto* routing = args.json ? &tallies : nullptr;
  const auto result =
      full ? evaluate_strided(loaded.model, target.tokens, key, stride, stop, routing)
           : evaluate_random(loaded.model, target.tokens, key, config.eval.eval_iters,
                             config.train.batch_size, stop, routing);
  // Infinite of a text of nothing but special tokens.
  const auto bits = result.loss / std::numbers::ln2 / target.bytes_per_token;
  if (!std::isfinite(result.loss))
    throw NumericsError(
        cat(args.checkpoint.name, ": the loss is not finite; try an earlier checkpoint"));
  if (args.json) {
    Json json = {{"checkpoint", loaded.info.ref.folder.string()},
                 {"step", loaded.info.ref.step},
                 {"split", target.split},
                 {"mode", full ? "full" : "random"},
                 {"stride", full ? Json(stride) : Json(nullptr)},
                 {"loss", result.loss},
                 {"perplexity", std::exp(result.loss)},
                 {"bits_per_byte", std::isfinite(bits) ? Json(bits) : Json(nullptr)},
                 {"tokens", result.tokens},
                 {"expert_load", result.expert_load}};
    json.update(balance_to_json(tallies));
    if (args.logprobs)
      json["logprobs"] = rows_to_json(log_probabilities(loaded.model, target.tokens, key));
    json["seconds"] = monotonic_seconds() - begin;
    print_json(json);
    return 0;
  }
  print(cat(loaded.info.ref.folder.string(), " on ", target.split, ": loss ", fixed(result.loss, 4),
            " nats/token, perplexity ", fixed(std::exp(result.loss), 3), ", ", fixed(bits, 4),
            " bits/byte over ", grouped(result.tokens), " tokens\n"));
  return 0;
}

}  // namespace

void add_eval(CLI::App& app, Run& run) {
  auto* command =
      app.add_subcommand("eval", "Measure loss and perplexity of a checkpoint on a text");
  const auto args = std::make_shared<EvalArgs>();
  add_checkpoint(*command, args->checkpoint);
  add_text(*command, args->text);
  add_overrides(*command, args->overrides,
                "set a key of the config, e.g. eval.mode=random; may be repeated");
  add_name(*command, "--device", args->device,
           "auto, cpu, cuda or cuda:N; default: auto (CUDA if there is one)");
  command->add_flag("--json", args->json, "print one JSON object instead of text");
  command->add_flag("--logprobs", args->logprobs,
                    "with --json: the logarithms of all symbols' probabilities after each symbol "
                    "of the first window of the text");
  command->footer("Example:\n  makemoe eval runs/quickstart --split val --json");
  command->callback([args, &run] {
    run = [args](const Services& services) { return run_eval(*args, services); };
  });
}

}  // namespace moe::cli
