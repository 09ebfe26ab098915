#include "moe/spec/model_spec.h"

#include <algorithm>

namespace moe {

std::int64_t expert_capacity(const FeedForwardSpec& spec, std::int64_t tokens) {
  if (!spec.capacity_factor) return -1;
  const auto share = static_cast<double>(tokens) * static_cast<double>(spec.top_k) /
                     static_cast<double>(spec.experts);
  return std::max<std::int64_t>(1, static_cast<std::int64_t>(share * *spec.capacity_factor));
}

std::int64_t ModelSpec::most_experts() const {
  std::int64_t most = 0;
  for (const auto& layer : layers) most = std::max(most, layer.feed_forward.experts);
  return most;
}

}  // namespace moe
