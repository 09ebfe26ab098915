#include "moe/eval/routing_health.h"

#include <algorithm>
#include <cmath>
#include <functional>
#include <limits>
#include <numeric>
#include <set>

namespace moe {

namespace {

constexpr std::int64_t kDeadShare = 100;  // below one in so many of the even share

std::size_t index(std::int64_t i) { return static_cast<std::size_t>(i); }

template <class Values>
double sum_of(const Values& values) {
  return static_cast<double>(
      std::accumulate(values.begin(), values.end(), typename Values::value_type{}));
}

std::vector<double> divided(std::span<const double> values, double by) {
  std::vector<double> out(values.begin(), values.end());
  for (auto& value : out) value /= by;
  return out;
}

/// The first `most` of `items` by `before`.
template <class Item, class Before>
void keep_first(std::vector<Item>& items, std::size_t most, const Before& before) {
  const auto kept = std::min(most, items.size());
  std::partial_sort(items.begin(), items.begin() + static_cast<std::ptrdiff_t>(kept), items.end(),
                    before);
  items.resize(kept);
}

/// Symbols with something in `weights`, the `most` heaviest of them, those first.
template <class Weight>
std::vector<std::int64_t> heaviest(const std::vector<Weight>& weights, std::size_t most) {
  std::vector<std::int64_t> symbols;
  for (std::size_t s = 0; s < weights.size(); ++s)
    if (weights[s] > 0) symbols.push_back(static_cast<std::int64_t>(s));
  keep_first(symbols, most, [&](std::int64_t a, std::int64_t b) {
    return weights[index(a)] != weights[index(b)] ? weights[index(a)] > weights[index(b)] : a < b;
  });
  return symbols;
}

}  // namespace

RoutingTally::RoutingTally(std::int64_t experts, std::int64_t vocabulary)
    : load(index(experts)),
      gate_mass(index(experts)),
      symbol_map(index(experts), Counts(index(vocabulary))),
      co_activation(index(experts), Counts(index(experts))),
      probability(index(experts)) {}

void RoutingTally::add(const TokenRouting& token) {
  ++tokens;
  for (std::size_t k = 0; k < token.experts.size(); ++k) {
    const auto expert = token.experts[k];
    ++load[index(expert)];
    gate_mass[index(expert)] += token.gates[k];
    ++symbol_map[index(expert)][index(token.symbol)];
    for (const auto other : token.experts) ++co_activation[index(expert)][index(other)];
  }
  top1_gate += *std::max_element(token.gates.begin(), token.gates.end());
  const auto most = *std::max_element(token.logits.begin(), token.logits.end());
  double sum = 0, weighted = 0;  // of e^(logit - most), and that times logit - most
  powers_.clear();
  for (const auto logit : token.logits) {
    powers_.push_back(std::exp(logit - most));
    sum += powers_.back();
    weighted += powers_.back() * (logit - most);
  }
  for (std::size_t e = 0; e < powers_.size(); ++e) probability[e] += powers_[e] / sum;
  router_entropy += std::log(sum) - weighted / sum;
  squared_logsumexp += std::pow(most + std::log(sum), 2);
  noise_std += token.noise_std.empty()
                   ? std::numeric_limits<double>::quiet_NaN()
                   : sum_of(token.noise_std) / static_cast<double>(token.noise_std.size());
}

double entropy(std::span<const double> weights) {
  double sum = 0, weighted = 0;
  for (const auto weight : weights) {
    sum += weight;
    if (weight > 0) weighted += weight * std::log(weight);
  }
  return std::log(sum) - weighted / sum;
}

Counts dead_experts(const Counts& load) {
  const auto choices = std::accumulate(load.begin(), load.end(), std::int64_t{0});
  const auto experts = static_cast<std::int64_t>(load.size());
  Counts dead;
  for (std::int64_t e = 0; e < experts; ++e)
    if (load[index(e)] * experts * kDeadShare < choices) dead.push_back(e);
  return dead;
}

LayerHealth health_of(const RoutingTally& tally) {
  const auto tokens = static_cast<double>(tally.tokens);
  const auto experts = static_cast<double>(tally.load.size());
  LayerHealth health;
  const auto choices = sum_of(tally.load);
  for (const auto count : tally.load) health.load.push_back(static_cast<double>(count) / choices);
  health.gate_mass = divided(tally.gate_mass, sum_of(tally.gate_mass));
  health.max_load = *std::max_element(health.load.begin(), health.load.end()) * experts;
  health.max_vio = health.max_load - 1;
  health.load_entropy = experts > 1 ? entropy(health.load) / std::log(experts) : 1;
  const auto probability = divided(tally.probability, tokens);
  double squares = 0;
  for (std::size_t e = 0; e < health.load.size(); ++e) {
    squares += std::pow(health.load[e] * experts - 1, 2);
    health.balance_loss += experts * health.load[e] * probability[e];
  }
  health.load_cv = std::sqrt(squares / experts);
  health.dead_experts = static_cast<double>(dead_experts(tally.load).size());
  health.router_entropy = tally.router_entropy / tokens;
  health.top1_gate = tally.top1_gate / tokens;
  health.z_loss = tally.squared_logsumexp / tokens;
  health.noise_std = tally.noise_std / tokens;
  return health;
}

Counts symbol_totals(const RoutingTally& tally) {
  Counts totals(tally.symbol_map.front().size());
  for (const auto& row : tally.symbol_map)
    std::ranges::transform(totals, row, totals.begin(), std::plus());
  return totals;
}

std::vector<std::vector<std::int64_t>> telling_symbols(const RoutingTally& tally,
                                                       std::size_t most) {
  const auto totals = symbol_totals(tally);
  const auto choices = sum_of(tally.load);
  std::vector<std::vector<std::int64_t>> out;
  for (std::size_t expert = 0; expert < tally.load.size(); ++expert) {
    const auto share = static_cast<double>(tally.load[expert]) / choices;
    std::vector<double> excess(totals.size());
    std::ranges::transform(tally.symbol_map[expert], totals, excess.begin(),
                           [&](auto own, auto all) {
                             return static_cast<double>(own) - share * static_cast<double>(all);
                           });
    out.push_back(heaviest(excess, most));
  }
  return out;
}

std::vector<std::int64_t> listed_symbols(const RoutingTallies& tallies, std::size_t vocabulary) {
  std::vector<std::int64_t> listed(vocabulary);
  std::iota(listed.begin(), listed.end(), 0);
  if (vocabulary <= kAllSymbols) return listed;
  std::set<std::int64_t> some;
  for (const auto& tally : tallies) {
    if (!tally.has_router()) continue;
    const auto frequent = heaviest(symbol_totals(tally), kFrequentSymbols);
    some.insert(frequent.begin(), frequent.end());
    for (const auto& telling : telling_symbols(tally, kTellingSymbols))
      some.insert(telling.begin(), telling.end());
  }
  return {some.begin(), some.end()};
}

std::vector<ExpertPair> frequent_pairs(const RoutingTally& tally, std::size_t most) {
  std::vector<ExpertPair> pairs;
  const auto experts = static_cast<std::int64_t>(tally.load.size());
  for (std::int64_t i = 0; i < experts; ++i)
    for (std::int64_t j = i + 1; j < experts; ++j)
      if (const auto both = tally.co_activation[index(i)][index(j)]; both > 0)
        pairs.push_back({i, j, both});
  keep_first(pairs, most, [](const ExpertPair& a, const ExpertPair& b) {
    if (a.tokens != b.tokens) return a.tokens > b.tokens;
    return a.first != b.first ? a.first < b.first : a.second < b.second;
  });
  return pairs;
}

}  // namespace moe
