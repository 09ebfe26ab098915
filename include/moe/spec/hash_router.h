#pragma once

#include <cstdint>
#include <vector>

namespace moe {

/// The experts of each symbol where a hash routes: (V, K), each token's distinct. They are the same
/// in every model of so many symbols and experts.
std::vector<std::int32_t> hashed_experts(std::int64_t vocab, std::int64_t experts,
                                         std::int64_t top_k);

}  // namespace moe
