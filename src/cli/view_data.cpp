#include <algorithm>
#include <cmath>
#include <optional>
#include <vector>

#include "cli/views.h"
#include "moe/base/error.h"
#include "moe/base/text.h"
#include "moe/data/symbol_class.h"
#include "moe/data/utf8.h"
#include "moe/eval/ablation.h"
#include "moe/eval/depth.h"
#include "moe/eval/information.h"
#include "moe/eval/likeness.h"
#include "moe/eval/saturation.h"
#include "moe/model/flat.h"

namespace moe::cli {

namespace {

/// null for what is no number.
Json figure(double value) { return std::isfinite(value) ? Json(value) : Json(nullptr); }

Json figures(const std::vector<double>& values) {
  auto list = Json::array();
  for (const auto value : values) list.push_back(figure(value));
  return list;
}

Json figures(const std::vector<std::vector<double>>& rows) {
  auto list = Json::array();
  for (const auto& row : rows) list.push_back(figures(row));
  return list;
}

/// The class of a token is that of its first letter, or of its first character if it has none.
SymbolClass class_of_token(const std::string& text) {
  const auto symbols = decode_utf8(text);
  const auto letter = std::ranges::find_if(symbols, [](char32_t symbol) {
    return class_of(symbol) == SymbolClass::lower_case ||
           class_of(symbol) == SymbolClass::upper_case;
  });
  return class_of(letter == symbols.end() ? symbols.front() : *letter);
}

/// The classes of a vocabulary's symbols.
TargetKinds kinds_of(const Tokenizer& tokenizer) {
  TargetKinds kinds{static_cast<std::int64_t>(kSymbolClasses.size())};
  for (std::int32_t id = 0; id < tokenizer.vocab_size(); ++id) {
    const auto text = tokenizer.decode({{id}});
    const auto kind = tokenizer.is_special(id) ? SymbolClass::other : class_of_token(text);
    kinds.of.push_back(static_cast<std::int64_t>(kind));
  }
  return kinds;
}

/// (E), and (E, classes).
Json rises(const std::vector<LossRise>& experts) {
  auto list = Json::array();
  for (const auto& rise : experts) list.push_back(figure(rise.all));
  return list;
}
Json rises_by_kind(const std::vector<LossRise>& experts) {
  auto list = Json::array();
  for (const auto& rise : experts) list.push_back(figures(rise.by_kind));
  return list;
}

Json information_to_json(const Information& of) {
  return {{"share", figure(of.share())},
          {"information", figure(of.information)},
          {"entropy", figure(of.entropy)},
          {"bias", figure(of.bias)},
          {"tokens", of.tokens}};
}

/// A checkpoint of a run and what its routers do with the split.
struct Stage {
  std::int64_t step = 0;
  SplitChoices choices;
};

/// The run's own sound checkpoints, newest first.
std::vector<CheckpointRef> own_checkpoints(const CheckpointInfo& info) {
  if (!info.ref.run)
    throw CheckpointError(cat(info.ref.folder.string(),
                              ": lies in no run, whose checkpoints --saturation compares; name a "
                              "run's folder"));
  const RunIdentity identity(*info.ref.run);
  auto refs = list_checkpoints(*info.ref.run);
  std::erase_if(refs, [&](const auto& ref) { return !is_sound(ref, identity); });
  return refs;
}

Json layers_of(const Stage& stage, const SplitChoices& newest) {
  const auto kept = shared_choices(stage.choices, newest);
  auto layers = Json::array();
  for (std::size_t layer = 0; layer < kept.size(); ++layer)
    layers.push_back({{"kept", figure(kept[layer])},
                      {"flips", nullptr},  // unknown of the oldest
                      {"margin", figure(stage.choices.margin[layer])}});
  return layers;
}

/// Writes into the rows of `later` how many choices changed since `stage`.
void add_flips(Json& later, const SplitChoices& choices, const Stage& stage) {
  const auto shared = shared_choices(choices, stage.choices);
  for (std::size_t layer = 0; layer < shared.size(); ++layer)
    later.at("layers").at(layer)["flips"] = figure(1 - shared[layer]);
}

}  // namespace

Json ablation_view(const ViewInput& input) {
  const auto found = ablate(input.loaded.model, input.target.tokens, input.request,
                            kinds_of(input.loaded.info.tokenizer));
  auto kinds = Json::array(), layers = Json::array();
  for (std::size_t kind = 0; kind < kSymbolClasses.size(); ++kind)
    kinds.push_back({{"class", kSymbolClasses[kind]},
                     {"tokens", found.tokens_by_kind[kind]},
                     {"loss", figure(found.loss_by_kind[kind])}});
  for (std::size_t layer = 0; layer < found.masked.size(); ++layer)
    layers.push_back({{"masked", rises(found.masked[layer])},
                      {"zeroed", rises(found.zeroed[layer])},
                      {"masked_by_class", rises_by_kind(found.masked[layer])},
                      {"zeroed_by_class", rises_by_kind(found.zeroed[layer])}});
  return {{"loss", found.loss}, {"classes", kinds}, {"layers", layers}};
}

Json information_view(const ViewInput& input) {
  auto layers = Json::array();
  for (const auto& layer :
       routing_information(input.loaded.model, input.target.tokens, input.request))
    layers.push_back({{"symbol", information_to_json(layer.symbol)},
                      {"previous", information_to_json(layer.previous)},
                      {"next", information_to_json(layer.next)},
                      {"position", information_to_json(layer.position)}});
  return {{"layers", layers}};
}

Json depth_view(const ViewInput& input) {
  const auto losses = losses_by_depth(input.loaded.model, input.target.tokens, input.request);
  auto layers = Json::array();
  auto before = losses.embedding;
  for (std::size_t layer = 0; layer < losses.mixture.size(); ++layer) {
    const auto attention = losses.attention[layer], mixture = losses.mixture[layer];
    layers.push_back({{"attention", attention},
                      {"mixture", mixture},
                      {"attention_gain", before - attention},
                      {"mixture_gain", attention - mixture}});
    before = mixture;
  }
  return {{"embedding", losses.embedding}, {"layers", layers}};
}

Json top_k_view(const ViewInput& input) {
  const auto& config = input.loaded.info.config.model;
  const auto losses =
      losses_by_top_k(input.loaded.model, config, input.target.tokens, input.request);
  return {{"top_k", config.moe.top_k}, {"losses", losses}};
}

Json similarity_view(const ViewInput& input) {
  auto layers = Json::array();
  const auto width = static_cast<double>(input.loaded.info.config.model.n_embed);
  for (const auto& layer : expert_likeness(input.loaded.model, input.target.tokens, input.request))
    layers.push_back(
        {{"rank", layer.rank},
         {"chance", layer.rank > 0 ? Json(static_cast<double>(layer.rank) / width) : Json(nullptr)},
         {"router_cosine", figures(layer.router_cosine)},
         {"output_overlap", figures(layer.output_overlap)},
         {"tokens", layer.tokens},
         {"output_norm", figures(layer.output_norm)},
         {"reap", figures(layer.reap)}});
  return {{"layers", layers}};
}

Json saturation_view(const ViewInput& input) {
  const auto& info = input.loaded.info;
  SparseMoELanguageModel model(info.config.model, info.vocabulary());
  model->to(input.loaded.device);
  FlatParameters flat(model);
  std::optional<SplitChoices> newest;
  std::optional<Stage> later;
  std::vector<Json> rows;
  for (const auto& ref : own_checkpoints(info)) {
    try {
      load_weights(ref, flat);
    } catch (const CheckpointError& error) {  // a run that trains meanwhile removes old ones
      input.log.warn(cat(error.what(), " (--saturation leaves it out)"));
      continue;
    }
    Stage stage{ref.step, split_choices(model, input.target.tokens, input.request)};
    if (!newest) newest = stage.choices;
    if (later) add_flips(rows.back(), later->choices, stage);
    rows.push_back({{"step", stage.step}, {"layers", layers_of(stage, *newest)}});
    later = std::move(stage);
  }
  if (rows.empty())
    throw CheckpointError(cat(info.ref.run->string(),
                              ": has no sound checkpoint to compare any more; name another run"));
  std::reverse(rows.begin(), rows.end());
  return {{"checkpoints", rows}};
}

}  // namespace moe::cli
