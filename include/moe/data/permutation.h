#pragma once

#include <cstdint>

namespace moe {

/// A shuffled order of [0, count) that takes no memory: any place of it is computed by itself. A
/// Feistel network (Luby and Rackoff 1988) over the next even power of two, walked on from what
/// lies outside (Black and Rogaway 2002).
class Permutation {
 public:
  /// `count` is positive, and at most 2^62.
  Permutation(std::int64_t count, std::uint64_t key);
  /// The number at place `at`, in [0, count).
  std::int64_t operator()(std::int64_t at) const;

 private:
  std::uint64_t once(std::uint64_t value) const;

  std::uint64_t count_, key_;
  unsigned half_bits_ = 1;
};

}  // namespace moe
