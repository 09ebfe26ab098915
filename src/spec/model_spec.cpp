#include "moe/spec/model_spec.h"

#include <algorithm>

namespace moe {

std::int64_t expert_capacity(const FeedForwardSpec& spec, std::int64_t tokens) {
  if (!spec.capacity_factor) return -1;
  const auto share = static_cast<double>(tokens) * static_cast<double>(spec.top_k) /
                     static_cast<double>(spec.experts);
  return std::max<std::int64_t>(1, static_cast<std::int64_t>(share * *spec.capacity_factor));
}

}  // namespace moe
