#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "moe/base/json.h"
#include "moe/data/tokenizer.h"
#include "moe/eval/routing_health.h"
#include "moe/model/language_model.h"

namespace moe {

/// Tallies of no tokens yet, one a layer of the model.
RoutingTallies make_tallies(const SparseMoELanguageModel& model);

/// Adds what a forward over `ids` (N symbols, row-major) kept of its routing.
void add_routing(RoutingTallies& tallies, std::span<const std::int64_t> ids,
                 std::span<const Routing> routing);

/// Where one token goes in one layer, the largest gate first.
struct TokenRoute {
  std::vector<std::int64_t> experts;  // (K); none without a router
  std::vector<double> gates;          // (K)
};

/// (T, L): where each of `ids`, at least 1 and at most block_size of them, goes in each layer, in
/// evaluation mode. `key` names the draws of a router whose noise is on in evaluation. Throws
/// NumericsError where a gate is not finite.
std::vector<std::vector<TokenRoute>> prompt_routes(SparseMoELanguageModel& model,
                                                   std::span<const std::int32_t> ids,
                                                   std::uint64_t key);

/// "tokens", "symbols" (texts of the listed_symbols, S), and "layers" with an object each: "load"
/// (E counts), each figure of kHealthFigures (null where there is none), "dead" (list of experts),
/// "co_activation" (E, E) "symbol_map" (E, S) counts, "other_symbols" (E) those of the symbols that
/// are not listed; null for a layer without a router.
Json routing_to_json(const RoutingTallies& tallies, const Tokenizer& tokenizer);

}  // namespace moe
