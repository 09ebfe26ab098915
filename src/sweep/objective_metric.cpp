#include "sweep/objective_metric.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <limits>
#include <optional>
#include <string_view>

#include "moe/base/text.h"
#include "moe/config/load.h"
#include "moe/config/visit.h"

namespace moe::sweep {

namespace {

// The names of docs/metrics.md (a test compares). A layer's stand after "moe/layerL/".
constexpr std::array<std::string_view, 16> kOfRun{"step",
                                                  "time_s",
                                                  "tokens",
                                                  "train/loss",
                                                  "val/loss",
                                                  "val/bits_per_byte",
                                                  "train/step_loss",
                                                  "lr",
                                                  "grad_norm",
                                                  "tokens_per_second",
                                                  "moe/dropped_fraction",
                                                  "train/balance_loss",
                                                  "train/sequence_balance_loss",
                                                  "train/importance_loss",
                                                  "train/load_loss",
                                                  "train/z_loss"};
constexpr std::array<std::string_view, 11> kOfLayer{
    "max_load",  "max_vio",      "load_entropy", "load_cv",   "dead_experts",    "router_entropy",
    "top1_gate", "balance_loss", "z_loss",       "noise_std", "dropped_fraction"};
/// Of a layer: a value for each expert.
constexpr std::array<std::string_view, 2> kLists{"load", "gate_mass"};
constexpr std::string_view kLayer = "moe/layer";

struct LayerMetric {
  std::int64_t layer;
  std::string_view name;
};

/// "moe/layer3/max_load" as {3, "max_load"}; nullopt: another form.
std::optional<LayerMetric> layer_metric(std::string_view metric) {
  if (!metric.starts_with(kLayer)) return std::nullopt;
  metric.remove_prefix(kLayer.size());
  const auto slash = metric.find('/');
  if (slash == std::string_view::npos || (slash > 1 && metric[0] == '0')) return std::nullopt;
  std::int64_t layer = 0;
  const auto [end, error] = std::from_chars(metric.data(), metric.data() + slash, layer);
  if (error != std::errc() || end != metric.data() + slash || layer < 0) return std::nullopt;
  return LayerMetric{layer, metric.substr(slash + 1)};
}

template <std::size_t N>
bool is_in(const std::array<std::string_view, N>& names, std::string_view name) {
  return std::find(names.begin(), names.end(), name) != names.end();
}

/// The values that trials may have under `key`; of a range its low end.
std::vector<Json> values_of_key(const Definition& definition, const std::string& key) {
  std::vector<Json> out;
  const auto* parameter = definition.space.find(key);
  if (parameter == nullptr || !parameter->when.empty()) {
    auto pointer = "/" + key;
    std::replace(pointer.begin(), pointer.end(), '.', '/');
    out.push_back(config_to_json(definition.base).at(Json::json_pointer(pointer)));
  }
  if (parameter != nullptr && parameter->kind == Parameter::Kind::choices)
    out.insert(out.end(), parameter->choices.begin(), parameter->choices.end());
  else if (parameter != nullptr)
    out.push_back(parameter->external(parameter->low));
  return out;
}

template <class Holds>
bool in_every_trial(const Definition& definition, const std::string& key, const Holds& holds) {
  const auto values = values_of_key(definition, key);
  return std::all_of(values.begin(), values.end(), holds);
}

std::int64_t fewest_layers(const Definition& definition) {
  auto fewest = std::numeric_limits<std::int64_t>::max();
  for (const auto& value : values_of_key(definition, "model.n_layer"))
    if (value.is_number()) fewest = std::min(fewest, value.get<std::int64_t>());
  return fewest;
}

/// A side loss's metric, and the element of model.moe.balance that it is of.
struct SideMetric {
  std::string_view name;
  BalanceKind kind;
  BalanceScope scope;
  std::string_view element;
};
constexpr std::array<SideMetric, 4> kSideMetrics{
    {{"train/balance_loss", BalanceKind::switch_loss, BalanceScope::batch, R"({"kind": "switch"})"},
     {"train/sequence_balance_loss", BalanceKind::switch_loss, BalanceScope::sequence,
      R"({"kind": "switch", "scope": "sequence"})"},
     {"train/importance_loss", BalanceKind::importance_load, BalanceScope::batch,
      R"({"kind": "importance_load"})"},
     {"train/load_loss", BalanceKind::importance_load, BalanceScope::batch,
      R"({"kind": "importance_load"})"}}};

/// Whether a value of model.moe.balance has the metric's element.
bool has_element(const Json& balance, const SideMetric& metric) {
  std::vector<BalanceConfig> elements;
  std::vector<std::string> ignored;  // the space's own checks tell them
  config_detail::read_list(balance, {}, "", elements, ignored);
  return std::ranges::any_of(elements, [&](const BalanceConfig& element) {
    return element.kind == metric.kind && element.scope == metric.scope;
  });
}

/// Why not every trial writes a metric of this last name; "" where all do.
std::string missing_because(const Definition& definition, std::string_view name) {
  const auto is_set = [](const Json& value) { return !value.is_null(); };
  const auto is_noisy = [](const Json& value) { return value == "noisy_topk"; };
  if (name.ends_with("dropped_fraction") &&
      !in_every_trial(definition, "model.moe.capacity_factor", is_set))
    return "is written only where model.moe.capacity_factor is set; set it for every trial";
  for (const auto& metric : kSideMetrics)
    if (name == metric.name &&
        !in_every_trial(definition, "model.moe.balance",
                        [&](const Json& value) { return has_element(value, metric); }))
      return cat("is written only where model.moe.balance has ", metric.element,
                 "; set it for every trial");
  const auto is_positive = [](const Json& value) { return value.is_number() && value > 0; };
  if (name == "train/z_loss" && !in_every_trial(definition, "model.moe.z_loss", is_positive))
    return "is written only where model.moe.z_loss is above 0; set it for every trial";
  if (name == "noise_std" && !in_every_trial(definition, "model.moe.router", is_noisy))
    return "is written only where model.moe.router is \"noisy_topk\"; set it for every trial";
  return "";
}

std::string unknown_metric(const std::string& metric, std::int64_t layers) {
  std::vector<std::string> known(kOfRun.begin(), kOfRun.end());
  for (const auto name : kOfLayer) known.push_back(cat(kLayer, "L/", name));
  auto candidates = known;
  for (std::int64_t layer = 0; layer < std::min<std::int64_t>(layers, 1000); ++layer)
    for (const auto name : kOfLayer) candidates.push_back(cat(kLayer, layer, "/", name));
  const auto near = nearest(metric, candidates);
  return cat("is no metric; ", near.empty() ? std::string() : cat("did you mean \"", near, "\"? "),
             "known are ", join(known, ", "));
}

/// What is wrong with the metric, and what to do; "" where nothing is.
std::string problem_of(const Definition& definition) {
  const auto& metric = definition.settings.objective.metric;
  const auto layers = fewest_layers(definition);
  if (is_in(kOfRun, metric)) return missing_because(definition, metric);
  const auto of_layer = layer_metric(metric);
  const bool is_list = of_layer && is_in(kLists, of_layer->name);
  if (!of_layer || (!is_list && !is_in(kOfLayer, of_layer->name)))
    return unknown_metric(metric, layers);
  if (of_layer->layer >= layers)
    return cat("trials have layers 0 to ", layers - 1, " (model.n_layer ", layers,
               "); name one of these");
  if (is_list)
    return cat("is a list with a value for each expert; name a single number, e.g. ", kLayer,
               of_layer->layer, "/max_load");
  const auto is_mixture = [&](const Json& dense) {
    return !dense.is_array() || std::ranges::find(dense, Json(of_layer->layer)) == dense.end();
  };
  if (!in_every_trial(definition, "model.moe.dense_layers", is_mixture))
    return cat("is of layer ", of_layer->layer,
               ", which model.moe.dense_layers gives no router; name another");
  return missing_because(definition, of_layer->name);
}

}  // namespace

void check_metric(const Definition& definition, std::vector<std::string>& problems) {
  if (const auto problem = problem_of(definition); !problem.empty())
    problems.push_back(cat("objective.metric: \"", printable(definition.settings.objective.metric),
                           "\" ", problem));
}

}  // namespace moe::sweep
