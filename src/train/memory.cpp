#include <algorithm>

#include "moe/base/error.h"
#include "moe/base/system.h"
#include "moe/base/text.h"
#include "moe/model/build.h"
#include "moe/train/trainer.h"

namespace moe {

std::int64_t estimate_memory(const RunConfig& config, std::int64_t vocab_size) {
  const auto& m = config.model;
  const auto c = static_cast<double>(m.n_embed);
  const auto tokens =
      static_cast<double>(config.train.batch_size) * static_cast<double>(m.block_size);
  // Kept for backward, per token and layer: norms, q/k/v, attention weights, expert rows.
  const auto attention = 10 * c + 4 * static_cast<double>(m.n_head * m.block_size);
  const auto experts = static_cast<double>(m.moe.top_k) * (4 + 6) * c;
  const auto activations = tokens * (static_cast<double>(m.n_layer) * (attention + experts) +
                                     4 * static_cast<double>(vocab_size));
  const auto parameters = static_cast<double>(count_parameters(m, vocab_size));
  // Of an evaluation: tallies of E * (V + E) counts a layer, as numbers, as JSON and as its text.
  constexpr double kBytesPerCount = 8 + 16 + 8;
  const auto e = static_cast<double>(m.moe.num_experts);
  const auto tallies =
      kBytesPerCount * static_cast<double>(m.n_layer) * e * (static_cast<double>(vocab_size) + e);
  const auto bytes = sizeof(float) * (4 * parameters + activations) + tallies;
  constexpr double kLargest = 9e18;  // an int64
  return static_cast<std::int64_t>(std::min(bytes, kLargest));
}

void check_memory(const RunConfig& config, std::int64_t vocab_size) {
  const auto needed = estimate_memory(config, vocab_size), available = available_memory();
  if (available >= 0 && needed > available)
    throw ResourceError(cat("memory: this model and batch need about ",
                            human_bytes(static_cast<double>(needed)), ", ",
                            human_bytes(static_cast<double>(available)),
                            " are available; lower train.batch_size, model.block_size, "
                            "model.n_embed, model.n_layer or model.moe.num_experts"));
}

}  // namespace moe
