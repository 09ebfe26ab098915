#pragma once

#include <cstdint>
#include <vector>

#include "moe/config/config.h"
#include "moe/data/corpus.h"
#include "moe/eval/routing_health.h"
#include "moe/eval/split_batches.h"
#include "moe/model/language_model.h"

namespace moe {

struct EvalResult {
  double loss = 0;                               // [nats/token]
  std::int64_t tokens = 0;                       // targets counted
  std::vector<std::vector<double>> expert_load;  // (L, E), rows sum to 1; empty without a router
};

/// Every target of `tokens` once: windows of block_size end to end, the last one shorter.
/// `max_windows` > 0 takes that many windows spread evenly over the split instead of all. Adds to
/// `routing` (make_tallies), where given, what the routers did with the tokens.
EvalResult evaluate_full(SparseMoELanguageModel& model, TokenView tokens, std::uint64_t key,
                         std::int64_t max_windows = 0, const StopRequest& stop = {},
                         RoutingTallies* routing = nullptr);

/// Every target of `tokens` once, with at least block_size - `stride` symbols before it but for the
/// first window's: windows begin `stride` apart, at most block_size, and each but the first scores
/// its last targets. Routing is that of all windows' tokens.
EvalResult evaluate_strided(SparseMoELanguageModel& model, TokenView tokens, std::uint64_t key,
                            std::int64_t stride, const StopRequest& stop = {},
                            RoutingTallies* routing = nullptr);

/// The published evaluation: the mean over `eval_iters` batches of `batch_size` windows drawn with
/// replacement from the stream `key` (its own: never the training stream).
EvalResult evaluate_random(SparseMoELanguageModel& model, TokenView tokens, std::uint64_t key,
                           std::int64_t eval_iters, std::int64_t batch_size,
                           const StopRequest& stop = {}, RoutingTallies* routing = nullptr);

/// Logarithms of the probabilities of all symbols after each of the first symbols of `tokens`, of
/// which there is at least one: (T, V) on the CPU, T at most the context.
at::Tensor log_probabilities(SparseMoELanguageModel& model, TokenView tokens, std::uint64_t key);

}  // namespace moe
