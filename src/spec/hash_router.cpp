#include "moe/spec/hash_router.h"

#include <numeric>

#include "moe/base/random.h"

namespace moe {

std::vector<std::int32_t> hashed_experts(std::int64_t vocab, std::int64_t experts,
                                         std::int64_t top_k) {
  std::vector<std::int32_t> out;
  out.reserve(static_cast<std::size_t>(vocab * top_k));
  for (std::int64_t symbol = 0; symbol < vocab; ++symbol) {
    Generator draws(stream_key(static_cast<std::uint64_t>(symbol), "hash router"));
    std::vector<std::int32_t> left(static_cast<std::size_t>(experts));
    std::iota(left.begin(), left.end(), 0);
    for (std::int64_t k = 0; k < top_k; ++k) {
      const auto drawn = left.begin() + static_cast<std::ptrdiff_t>(draws.below(left.size()));
      out.push_back(*drawn);
      left.erase(drawn);
    }
  }
  return out;
}

}  // namespace moe
