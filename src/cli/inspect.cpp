#include "moe/eval/inspect.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <utility>

#include "cli/options.h"
#include "cli/output.h"
#include "cli/session.h"
#include "cli/target.h"
#include "cli/text_table.h"
#include "cli/views.h"
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
  std::int64_t windows = 0;  // 0: all
  std::array<bool, kViews.size()> views{};
  bool has_prompt = false, json = false, save = false;

  bool has_views() const { return std::find(views.begin(), views.end(), true) != views.end(); }
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

Json prompt_to_json(const PromptRoutes& prompt, const Tokenizer& tokenizer) {
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

/// Of the layer that has the most.
std::size_t experts_of(const RoutingTallies& tallies) {
  std::size_t most = 0;
  for (const auto& tally : tallies) most = std::max(most, tally.load.size());
  return most;
}

std::string load_table(const RoutingTallies& tallies) {
  std::vector<LayerHealth> health;
  for (const auto& tally : tallies)
    health.push_back(tally.has_router() ? health_of(tally) : LayerHealth());
  auto table = table_of_layers("load/gates", tallies.size());
  for (std::size_t e = 0; e < experts_of(tallies); ++e)
    add_row(table, cat("expert ", e), [&](auto l) {
      if (!tallies[l].has_router()) return std::string("-");
      return cat(fixed(100 * health[l].load[e], 1), "/", fixed(100 * health[l].gate_mass[e], 1));
    });
  for (const auto& [name, value] : kHealthFigures)
    add_row(table, std::string(name), [&, member = value](auto layer) {
      const auto figure = health[layer].*member;
      if (!tallies[layer].has_router() || !std::isfinite(figure)) return std::string("-");
      return member == &LayerHealth::dead_experts ? cat(std::llround(figure)) : fixed(figure, 3);
    });
  return laid_out(table);
}

std::string symbol_table(const RoutingTallies& tallies, const Tokenizer& tokenizer) {
  auto table = table_of_layers("symbols", tallies.size());
  const std::string_view gap = tokenizer.kind() == TokenizerKind::character ? "" : " ";
  std::vector<std::vector<std::vector<std::int64_t>>> telling(tallies.size());  // [layer][expert]
  for (std::size_t layer = 0; layer < tallies.size(); ++layer)
    if (tallies[layer].has_router()) telling[layer] = telling_symbols(tallies[layer], kSymbols);
  for (std::size_t e = 0; e < experts_of(tallies); ++e)
    add_row(table, cat("expert ", e), [&](auto layer) {
      std::vector<std::string> names;
      if (e < telling[layer].size())
        for (const auto id : telling[layer][e])
          names.push_back(visible_symbol(tokenizer.symbol(static_cast<std::int32_t>(id))));
      return names.empty() ? std::string("-") : join(names, gap);
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

std::string prompt_table(const PromptRoutes& prompt, const Tokenizer& tokenizer) {
  auto table = table_of_layers("prompt", prompt.routes.front().size());
  for (std::size_t t = 0; t < prompt.ids.size(); ++t)
    add_row(table, visible_symbol(tokenizer.symbol(prompt.ids[t])), [&](auto layer) {
      const auto& route = prompt.routes[t][layer];
      std::vector<std::string> parts;
      for (std::size_t k = 0; k < route.experts.size(); ++k)
        parts.push_back(cat(route.experts[k], ":", fixed(route.gates[k], 2)));
      return parts.empty() ? std::string("-") : join(parts, " ");
    });
  return laid_out(table);
}

void print_tables(const RoutingTallies& tallies, const PromptRoutes& prompt,
                  const Tokenizer& tokenizer) {
  print(
      cat("\nEach expert's share of the choices and of the gates [%], and figures of each\n"
          "layer (docs/metrics.md):\n",
          load_table(tallies),
          "\nSymbols of which an expert gets more than its share, the most excess first:\n",
          symbol_table(tallies, tokenizer)));
  const auto has_pairs = [](const RoutingTally& tally) {
    return !frequent_pairs(tally, 1).empty();
  };
  if (std::any_of(tallies.begin(), tallies.end(), has_pairs))
    print(cat("\nExperts that serve the same tokens, and the share of all tokens:\n",
              pair_table(tallies)));
  if (!prompt.ids.empty())
    print(cat("\nWhere each symbol of the prompt goes, expert:gate:\n",
              prompt_table(prompt, tokenizer)));
}

/// What is said first of any answer.
Json head_of(const InspectArgs& args, const CheckpointInfo& info, const Target& target) {
  const auto& moe = info.config.model.moe;
  Json head = {{"checkpoint", info.ref.folder.string()},
               {"step", info.ref.step},
               {"split", target.split},
               {"num_experts", moe.num_experts},
               {"top_k", moe.top_k}};
  if (args.has_views()) head["windows"] = args.windows > 0 ? Json(args.windows) : Json(nullptr);
  return head;
}

/// RUN/inspect/KEY.json, which the report shows.
void save_view(const Json& head, const std::string& key, const Json& view,
               const CheckpointInfo& info, const Services& services) {
  const auto folder = *info.ref.run / "inspect";
  services.files.make_folder(folder);
  auto json = head;
  json.erase("checkpoint");
  json[key] = view;
  const auto path = folder / (key + ".json");
  services.files.replace(path, json_text(json) + "\n");
  services.log.info(cat("wrote ", path.string()));
}

int run_views(const InspectArgs& args, LoadedModel& loaded, const Target& target, std::uint64_t key,
              const Services& services) {
  const auto& info = loaded.info;
  if (args.save && !info.ref.run)
    throw CheckpointError(cat(info.ref.folder.string(),
                              ": lies in no run, into which --save could write; leave it out"));
  const auto begin = monotonic_seconds();
  const auto head = head_of(args, info, target);
  auto json = head;
  auto heading = cat(info.ref.folder.string(), " on ", target.split, "\n");
  for (std::size_t i = 0; i < kViews.size(); ++i) {
    if (!args.views[i]) continue;
    const std::string name(kViews[i].key);
    const SplitRequest request{
        .key = key,
        .max_windows = args.windows,
        .stop = [&] { return services.interrupt.signal(); },
        .progress = [&](auto done,
                        auto all) { services.log.live(cat(name, ": ", 100 * done / all, " %")); }};
    json[name] = kViews[i].compute({loaded, target, request, services.log});
    services.log.live("");
    if (!args.json) print(cat(std::exchange(heading, ""), "\n", kViews[i].text(json[name])));
    if (args.save) save_view(head, name, json[name], info, services);
  }
  json["seconds"] = monotonic_seconds() - begin;
  if (args.json) print(json_text(json) + "\n");
  return 0;
}

/// What a model without routers has nothing to show for.
void require_routers(const InspectArgs& args, const CheckpointInfo& info) {
  if (info.config.model.moe.num_experts > 0) return;
  for (std::size_t i = 0; i < kViews.size(); ++i)
    if (args.views[i] && kViews[i].needs_router)
      throw ConfigError(cat(kViews[i].flag, ": ", info.ref.folder.string(),
                            " is a dense model, which has no router; --depth is for it too"));
  if (!args.has_views())
    throw ConfigError(cat("inspect: ", info.ref.folder.string(),
                          " is a dense model, which routes nothing; ask for --depth"));
}

int run_inspect(const InspectArgs& args, const Services& services) {
  if (args.save && !args.has_views())
    throw ConfigError(cat("--save: there is nothing to save; add a view, e.g. ", kViews[0].flag));
  auto loaded = load_model(args.checkpoint, args.device, {}, services.log);
  const auto& info = loaded.info;
  require_routers(args, info);
  const auto key = stream_key(static_cast<std::uint64_t>(info.config.seed), "eval command");
  PromptRoutes prompt;
  if (args.has_prompt) {
    prompt.ids = prompt_ids(args.prompt, info, services.log);
    prompt.routes = prompt_routes(loaded.model, prompt.ids, key);
  }
  const auto target = read_target(args.text, info, services.log);
  if (args.has_views()) return run_views(args, loaded, target, key, services);
  const auto begin = monotonic_seconds();
  auto tallies = make_tallies(loaded.model);
  evaluate_full(
      loaded.model, target.tokens, key, args.windows, [&] { return services.interrupt.signal(); },
      &tallies);
  if (args.json) {
    auto json = head_of(args, info, target);
    json.update(routing_to_json(tallies, info.tokenizer));
    json["prompt"] = prompt_to_json(prompt, info.tokenizer);
    json["seconds"] = monotonic_seconds() - begin;
    print(json_text(json) + "\n");  // on one line: the maps have thousands of numbers
    return 0;
  }
  const auto& moe = info.config.model.moe;
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
  for (std::size_t i = 0; i < kViews.size(); ++i)
    prompt->excludes(command->add_flag(std::string(kViews[i].flag), args->views[i],
                                       cat("show ", kViews[i].help, ", instead of the routing")));
  command->add_flag("--save", args->save,
                    "also write each view into the run's folder, where `report` finds it");
  constexpr std::int64_t kMostWindows = 1'000'000'000;
  add_whole<std::int64_t>(*command, "--windows", args->windows,
                          "windows to read, spread evenly over the text; default: all", 1,
                          kMostWindows);
  add_name(*command, "--device", args->device,
           "auto, cpu, cuda or cuda:N; default: auto (CUDA if there is one)");
  command->add_flag("--json", args->json, "print one JSON object instead of text");
  command->footer(
      "Examples:\n"
      "  makemoe inspect runs/quickstart --prompt \"ROMEO:\"\n"
      "  makemoe inspect runs/quickstart@last --data other.txt --json\n"
      "  makemoe inspect runs/quickstart --ablate --windows 500 --save");
  command->callback([args, prompt, &run] {
    args->has_prompt = prompt->count() > 0;
    run = [args](const Services& services) { return run_inspect(*args, services); };
  });
}

}  // namespace moe::cli
