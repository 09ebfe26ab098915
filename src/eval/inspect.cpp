#include "moe/eval/inspect.h"

#include <ATen/core/grad_mode.h>
#include <ATen/ops/tensor.h>

#include <cmath>
#include <numeric>

#include "moe/base/error.h"

namespace moe {

namespace {

/// The rows of a (N, W) tensor as plain memory on the CPU; none of an undefined one.
template <class T>
class Rows {
 public:
  Rows(const at::Tensor& tensor, at::ScalarType type) {
    if (!tensor.defined()) return;
    values_ = tensor.to(at::kCPU, type).contiguous();
    width_ = static_cast<std::size_t>(values_.size(1));
    data_ = values_.template const_data_ptr<T>();
  }
  std::span<const T> operator[](std::size_t n) const { return {data_ + n * width_, width_}; }

 private:
  at::Tensor values_;
  std::size_t width_ = 0;
  const T* data_ = nullptr;
};

std::vector<TokenRoute> routes_of(const Routing& routing) {
  const Rows<std::int64_t> experts(routing.experts, at::kLong);
  const Rows<double> gates(routing.gates, at::kDouble);
  std::vector<TokenRoute> routes;
  for (std::size_t n = 0; n < static_cast<std::size_t>(routing.experts.size(0)); ++n) {
    routes.push_back({{experts[n].begin(), experts[n].end()}, {gates[n].begin(), gates[n].end()}});
    for (const auto gate : gates[n])
      if (!std::isfinite(gate))
        throw NumericsError(
            "prompt: a gate is not finite; the weights have diverged, use an earlier checkpoint");
  }
  return routes;
}

}  // namespace

RoutingTallies make_tallies(const SparseMoELanguageModel& model) {
  RoutingTallies tallies;
  for (const auto& layer : model->spec().layers)
    tallies.emplace_back(layer.feed_forward.experts, model->vocab_size());
  return tallies;
}

void add_routing(RoutingTallies& tallies, std::span<const std::int64_t> ids,
                 std::span<const Routing> routing) {
  TORCH_CHECK(tallies.size() == routing.size(), "routing of ", routing.size(), " layers for ",
              tallies.size());
  for (std::size_t layer = 0; layer < routing.size(); ++layer) {
    if (!tallies[layer].has_router()) {
      tallies[layer].tokens += static_cast<std::int64_t>(ids.size());
      continue;
    }
    const Rows<std::int64_t> experts(routing[layer].experts, at::kLong);
    const Rows<double> gates(routing[layer].gates, at::kDouble);
    const Rows<double> logits(routing[layer].logits, at::kDouble);
    const Rows<double> noise_std(routing[layer].noise_std, at::kDouble);
    for (std::size_t n = 0; n < ids.size(); ++n)
      tallies[layer].add({ids[n], experts[n], gates[n], logits[n], noise_std[n]});
  }
}

std::vector<std::vector<TokenRoute>> prompt_routes(SparseMoELanguageModel& model,
                                                   std::span<const std::int32_t> ids,
                                                   std::uint64_t key) {
  const at::NoGradGuard no_grad;
  const std::vector<std::int64_t> wide(ids.begin(), ids.end());
  const auto time = static_cast<std::int64_t>(ids.size());
  const auto device = model->parameters().front().device();
  auto context = make_context(1, time, /*training=*/false, key);
  context.keeps_routing = true;
  const auto row = at::tensor(wide).unsqueeze(0).to(device);  // (1, T)
  const auto out = model->forward(row, /*targets=*/{}, context);
  std::vector<std::vector<TokenRoute>> by_token(ids.size());
  for (const auto& layer : out.routing) {
    const auto routes = routes_of(layer);
    for (std::size_t t = 0; t < routes.size(); ++t) by_token[t].push_back(routes[t]);
  }
  return by_token;
}

namespace {

/// (E, listed).
std::vector<Counts> listed_counts(const std::vector<Counts>& map,
                                  const std::vector<std::int64_t>& listed) {
  std::vector<Counts> out;
  for (const auto& row : map) {
    auto& counts = out.emplace_back();
    for (const auto id : listed) counts.push_back(row[static_cast<std::size_t>(id)]);
  }
  return out;
}

/// (E) what `map` leaves out of the load.
Counts other_counts(const Counts& load, const std::vector<Counts>& map) {
  auto out = load;
  for (std::size_t e = 0; e < map.size(); ++e)
    out[e] -= std::accumulate(map[e].begin(), map[e].end(), std::int64_t{0});
  return out;
}

}  // namespace

Json routing_to_json(const RoutingTallies& tallies, const Tokenizer& tokenizer) {
  auto symbols = Json::array(), layers = Json::array();
  const auto listed = listed_symbols(tallies, static_cast<std::size_t>(tokenizer.vocab_size()));
  for (const auto id : listed)
    symbols.push_back(tokenizer.shown_symbol(static_cast<std::int32_t>(id)));
  for (const auto& tally : tallies) {
    if (!tally.has_router()) {
      layers.push_back(nullptr);
      continue;
    }
    const auto health = health_of(tally);
    Json layer = {{"load", tally.load}, {"gate_mass", health.gate_mass}};
    for (const auto& [name, value] : kHealthFigures)
      layer[std::string(name)] = std::isfinite(health.*value) ? Json(health.*value) : Json(nullptr);
    layer["dead"] = dead_experts(tally.load);
    layer["co_activation"] = tally.co_activation;
    const auto map = listed_counts(tally.symbol_map, listed);
    layer["symbol_map"] = map;
    layer["other_symbols"] = other_counts(tally.load, map);
    layers.push_back(std::move(layer));
  }
  return {{"tokens", tallies.front().tokens}, {"symbols", symbols}, {"layers", layers}};
}

}  // namespace moe
