#include "moe/data/permutation.h"

#include "moe/base/random.h"

namespace moe {

namespace {

constexpr std::uint32_t kRounds = 6;  // four make it pseudo-random (Luby and Rackoff)

}  // namespace

Permutation::Permutation(std::int64_t count, std::uint64_t key)
    : count_(static_cast<std::uint64_t>(count)), key_(key) {
  while (std::uint64_t{1} << (2 * half_bits_) < count_) ++half_bits_;
}

std::uint64_t Permutation::once(std::uint64_t value) const {
  const auto mask = (std::uint64_t{1} << half_bits_) - 1;
  auto left = value >> half_bits_, right = value & mask;
  for (std::uint32_t round = 0; round < kRounds; ++round) {
    const auto drawn = philox4x32({static_cast<std::uint32_t>(right), round, 0, 0}, key_)[0];
    const auto next = left ^ (drawn & mask);
    left = right;
    right = next;
  }
  return left << half_bits_ | right;
}

std::int64_t Permutation::operator()(std::int64_t at) const {
  auto value = once(static_cast<std::uint64_t>(at));
  while (value >= count_) value = once(value);  // less than four times on the average
  return static_cast<std::int64_t>(value);
}

}  // namespace moe
