#pragma once

#include <array>
#include <cstdint>
#include <span>
#include <string_view>
#include <vector>

namespace moe {

// How well a mixture layer spreads its tokens, from the decisions of its router (docs/metrics.md).
// Shapes: L n_layer, E num_experts, K top_k, V vocabulary.

using Counts = std::vector<std::int64_t>;

/// What one layer's router did with one token.
struct TokenRouting {
  std::int64_t symbol = 0;                 // in [0, V)
  std::span<const std::int64_t> experts;   // (K), each in [0, E), distinct
  std::span<const double> gates;           // (K)
  std::span<const double> logits;          // (E) before noise
  std::span<const double> noise_std = {};  // (E); empty: the router has no noise
};

/// Sums over tokens of what one layer's router did with them. Without a router, tokens alone.
struct RoutingTally {
  RoutingTally(std::int64_t experts, std::int64_t vocabulary);
  void add(const TokenRouting& token);
  bool has_router() const { return !load.empty(); }

  std::int64_t tokens = 0;
  Counts load;                        // (E) tokens that chose the expert; the sum is tokens * K
  std::vector<double> gate_mass;      // (E) sums of the gates that tokens gave the expert
  std::vector<Counts> symbol_map;     // (E, V) the same by the token's symbol
  std::vector<Counts> co_activation;  // (E, E) tokens that chose both; the diagonal is the load
  std::vector<double> probability;    // (E) sums of the softmax over all logits
  double router_entropy = 0;          // sum of that softmax's entropy [nats]
  double top1_gate = 0;               // sum of the largest gate
  double squared_logsumexp = 0;
  double noise_std = 0;  // sum of the mean over the experts; NaN: the router has no noise

 private:
  std::vector<double> powers_;  // of one token
};

/// A tally a layer, (L).
using RoutingTallies = std::vector<RoutingTally>;

/// Entropy [nats] of weights, not all 0, as shares of their sum.
double entropy(std::span<const double> weights);
/// Experts whose load is less than 1 % of the even share.
Counts dead_experts(const Counts& load);

/// One layer over all tokens of a tally that has at least one, and a router.
struct LayerHealth {
  std::vector<double> load;       // (E) share of the choices; they sum to 1
  std::vector<double> gate_mass;  // (E) share of the sum of all gates; they sum to 1
  double max_load = 0;            // largest over mean load: 1 where even, E / K at most
  double max_vio = 0;             // MaxVio (Wang et al. 2024, arXiv 2408.15664): max_load - 1
  double load_entropy = 0;        // over ln E: 1 where even; 1 for one expert
  double load_cv = 0;             // standard deviation over mean of the load: 0 where even
  double dead_experts = 0;        // their number
  double router_entropy = 0;      // of the softmax over all logits, mean over tokens [nats]
  double top1_gate = 0;           // the largest gate, mean over tokens
  double balance_loss = 0;        // E * sum of load * probability (Switch): 1 where even
  double z_loss = 0;              // mean of logsumexp(logits)^2 (ST-MoE)
  double noise_std = 0;           // mean over tokens and experts; NaN: the router has no noise
};
LayerHealth health_of(const RoutingTally& tally);

/// The figures of a LayerHealth beside its load, by the names that they have in files.
struct HealthFigure {
  std::string_view name;
  double LayerHealth::*value;
};
inline constexpr std::array kHealthFigures{
    HealthFigure{"max_load", &LayerHealth::max_load},
    HealthFigure{"max_vio", &LayerHealth::max_vio},
    HealthFigure{"load_entropy", &LayerHealth::load_entropy},
    HealthFigure{"load_cv", &LayerHealth::load_cv},
    HealthFigure{"dead_experts", &LayerHealth::dead_experts},
    HealthFigure{"router_entropy", &LayerHealth::router_entropy},
    HealthFigure{"top1_gate", &LayerHealth::top1_gate},
    HealthFigure{"balance_loss", &LayerHealth::balance_loss},
    HealthFigure{"z_loss", &LayerHealth::z_loss},
    HealthFigure{"noise_std", &LayerHealth::noise_std}};

/// (V) choices by the token's symbol, of all experts together.
Counts symbol_totals(const RoutingTally& tally);

/// (E): up to `most` symbols of which the expert gets more than its share of all choices, by how
/// many more, the largest first.
std::vector<std::vector<std::int64_t>> telling_symbols(const RoutingTally& tally, std::size_t most);

/// A vocabulary of up to so many symbols is listed whole, of a larger one so many.
inline constexpr std::size_t kAllSymbols = 256, kFrequentSymbols = 128, kTellingSymbols = 8;
/// The symbols to list, ascending: of a large vocabulary the most frequent ones, and those that
/// tell most of each expert in each layer.
std::vector<std::int64_t> listed_symbols(const RoutingTallies& tallies, std::size_t vocabulary);

/// Two experts and how many tokens chose both.
struct ExpertPair {
  std::int64_t first, second, tokens;
};
/// Up to `most` pairs that any token chose, the most frequent first; of equal ones the first.
std::vector<ExpertPair> frequent_pairs(const RoutingTally& tally, std::size_t most);

}  // namespace moe
