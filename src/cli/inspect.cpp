#include "moe/eval/inspect.h"

#include <cmath>

#include "cli/options.h"
#include "cli/output.h"
#include "cli/session.h"
#include "cli/target.h"
#include "cli/text_table.h"
#include "moe/base/random.h"
#include "moe/base/system.h"
#include "moe/base/text.h"
#include "moe/cli/app.h"
#include "moe/eval/evaluator.h"

namespace moe::cli {

namespace {

constexpr std::size_t kSymbols = 6, kPairs = 5;  // of a layer, on a terminal

struct InspectArgs {
  CheckpointArgs checkpoint;
  TextArgs text;
  std::string prompt, device;
  bool has_prompt = false, json = false;
};

/// Where the symbols of a prompt go.
struct PromptRoutes {
  std::vector<std::int32_t> ids;                // (T)
  std::vector<std::vector<TokenRoute>> routes;  // (T, L)
};

std::vector<std::int32_t> prompt_ids(const std::string& prompt, const CheckpointInfo& info,
                                     Log& log) {
  if (prompt.empty()) throw DataError("--prompt: \"\" is empty; give at least one symbol");
  auto ids = info.tokenizer.encode(prompt, "--prompt");
  const auto block = info.config.model.block_size, size = static_cast<std::int64_t>(ids.size());
  if (size <= block) return ids;
  log.warn(cat("the prompt has ", size, " symbols; the model sees the last ", block));
  return {ids.end() - block, ids.end()};
}

Json prompt_to_json(const PromptRoutes& prompt, const CharTokenizer& tokenizer) {
  if (prompt.ids.empty()) return nullptr;
  auto list = Json::array();
  for (std::size_t t = 0; t < prompt.ids.size(); ++t) {
    auto layers = Json::array();
    for (const auto& route : prompt.routes[t])
      layers.push_back({{"experts", route.experts}, {"gates", route.gates}});
    list.push_back({{"symbol", tokenizer.symbol(prompt.ids[t])}, {"layers", layers}});
  }
  return list;
}

/// A table with a column a layer and no rows yet.
TextTable table_of_layers(const std::string& corner, std::size_t layers) {
  TextTable table{corner, {}, {}, {}};
  for (std::size_t layer = 0; layer < layers; ++layer) table.heads.push_back(cat("L", layer));
  return table;
}

/// Adds a row; cell(layer) is its text.
template <class Cell>
void add_row(TextTable& table, const std::string& label, const Cell& cell) {
  table.labels.push_back(label);
  auto& row = table.cells.emplace_back();
  for (std::size_t layer = 0; layer < table.heads.size(); ++layer) row.push_back(cell(layer));
}

std::string load_table(const RoutingTallies& tallies) {
  std::vector<LayerHealth> health;
  for (const auto& tally : tallies) health.push_back(health_of(tally));
  auto table = table_of_layers("load/gates", tallies.size());
  for (std::size_t e = 0; e < tallies.front().load.size(); ++e)
    add_row(table, cat("expert ", e), [&](auto l) {
      return cat(fixed(100 * health[l].load[e], 1), "/", fixed(100 * health[l].gate_mass[e], 1));
    });
  for (const auto& [name, value] : kHealthFigures)
    add_row(table, std::string(name), [&, member = value](auto layer) {
      const auto figure = health[layer].*member;
      if (!std::isfinite(figure)) return std::string("-");
      return member == &LayerHealth::dead_experts ? cat(std::llround(figure)) : fixed(figure, 3);
    });
  return laid_out(table);
}

std::string symbol_table(const RoutingTallies& tallies, const CharTokenizer& tokenizer) {
  auto table = table_of_layers("symbols", tallies.size());
  for (std::size_t e = 0; e < tallies.front().load.size(); ++e)
    add_row(table, cat("expert ", e), [&](auto layer) {
      std::string cell;
      for (const auto id : telling_symbols(tallies[layer], e, kSymbols))
        cell += visible_symbol(tokenizer.symbol(static_cast<std::int32_t>(id)));
      return cell.empty() ? std::string("-") : cell;
    });
  return laid_out(table);
}

std::string pair_table(const RoutingTallies& tallies) {
  auto table = table_of_layers("pairs", tallies.size());
  std::vector<std::vector<ExpertPair>> pairs;
  for (const auto& tally : tallies) pairs.push_back(frequent_pairs(tally, kPairs));
  for (std::size_t rank = 0; rank < kPairs; ++rank)
    add_row(table, cat(rank + 1, "."), [&](auto layer) {
      if (rank >= pairs[layer].size()) return std::string("-");
      const auto& pair = pairs[layer][rank];
      const auto share =
          static_cast<double>(pair.tokens) / static_cast<double>(tallies[layer].tokens);
      return cat(pair.first, "+", pair.second, " ", fixed(100 * share, 0), "%");
    });
  return laid_out(table);
}

std::string prompt_table(const PromptRoutes& prompt, const CharTokenizer& tokenizer) {
  auto table = table_of_layers("prompt", prompt.routes.front().size());
  for (std::size_t t = 0; t < prompt.ids.size(); ++t)
    add_row(table, visible_symbol(tokenizer.symbol(prompt.ids[t])), [&](auto layer) {
      const auto& route = prompt.routes[t][layer];
      std::vector<std::string> parts;
      for (std::size_t k = 0; k < route.experts.size(); ++k)
        parts.push_back(cat(route.experts[k], ":", fixed(route.gates[k], 2)));
      return join(parts, " ");
    });
  return laid_out(table);
}

void print_tables(const RoutingTallies& tallies, const PromptRoutes& prompt,
                  const CharTokenizer& tokenizer) {
  print(cat("\nEach expert's share of the choices and of the gates [%], and figures of each\n"
            "layer (docs/metrics.md):\n",
            load_table(tallies),
            "\nSymbols of which an expert gets more than its share, the most excess first:\n",
            symbol_table(tallies, tokenizer)));
  if (!frequent_pairs(tallies.front(), 1).empty())
    print(cat("\nExperts that serve the same tokens, and the share of all tokens:\n",
              pair_table(tallies)));
  if (!prompt.ids.empty())
    print(cat("\nWhere each symbol of the prompt goes, expert:gate:\n",
              prompt_table(prompt, tokenizer)));
}

int run_inspect(const InspectArgs& args, const Services& services) {
  auto loaded = load_model(args.checkpoint, args.device, {}, services.log);
  const auto& info = loaded.info;
  const auto key = stream_key(static_cast<std::uint64_t>(info.config.seed), "eval command");
  PromptRoutes prompt;
  if (args.has_prompt) {
    prompt.ids = prompt_ids(args.prompt, info, services.log);
    prompt.routes = prompt_routes(loaded.model, prompt.ids, key);
  }
  const auto target = read_target(args.text, info, services.log);
  const auto begin = monotonic_seconds();
  auto tallies = make_tallies(loaded.model);
  evaluate_full(
      loaded.model, target.tokens, key, 0, [&] { return services.interrupt.signal(); }, &tallies);
  const auto& moe = info.config.model.moe;
  if (args.json) {
    Json json = {{"checkpoint", info.ref.folder.string()},
                 {"step", info.ref.step},
                 {"split", target.split},
                 {"num_experts", moe.num_experts},
                 {"top_k", moe.top_k}};
    json.update(routing_to_json(tallies, info.tokenizer));
    json["prompt"] = prompt_to_json(prompt, info.tokenizer);
    json["seconds"] = monotonic_seconds() - begin;
    print(json_text(json) + "\n");  // on one line: the maps have thousands of numbers
    return 0;
  }
  print(cat(info.ref.folder.string(), " on ", target.split, ": ", grouped(tallies.front().tokens),
            " tokens, ", moe.num_experts, " experts, top ", moe.top_k, "\n"));
  print_tables(tallies, prompt, info.tokenizer);
  return 0;
}

}  // namespace

void add_inspect(CLI::App& app, Run& run) {
  auto* command =
      app.add_subcommand("inspect", "Show how a checkpoint routes a text to its experts");
  const auto args = std::make_shared<InspectArgs>();
  add_checkpoint(*command, args->checkpoint);
  add_text(*command, args->text);
  auto* prompt = command->add_option(
      "--prompt", args->prompt,
      "also show which experts each symbol of this text goes to; default: none");
  add_name(*command, "--device", args->device,
           "auto, cpu, cuda or cuda:N; default: auto (CUDA if there is one)");
  command->add_flag("--json", args->json, "print one JSON object instead of text");
  command->footer(
      "Examples:\n"
      "  makemoe inspect runs/quickstart --prompt \"ROMEO:\"\n"
      "  makemoe inspect runs/quickstart@last --data other.txt --json");
  command->callback([args, prompt, &run] {
    args->has_prompt = prompt->count() > 0;
    run = [args](const Services& services) { return run_inspect(*args, services); };
  });
}

}  // namespace moe::cli
