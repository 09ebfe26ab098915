#pragma once

#include <compare>
#include <cstdint>
#include <vector>

#include "data/chunk_hash.h"

namespace moe {

/// Two tokens side by side, by their ids; ordered as Hugging Face orders pairs of equal count.
struct TokenPair {
  std::uint32_t left, right;
  friend auto operator<=>(const TokenPair&, const TokenPair&) = default;
};

inline constexpr std::uint32_t kNoList = UINT32_MAX;

/// How often pairs stand in a text, and where: a flat table, as a pair is looked up several times
/// for each merge in each word.
class PairCounts {
 public:
  struct Counted {
    std::int64_t count = 0;
    std::uint32_t list = kNoList;  // of words; the owner's to use
  };
  /// The count of a pair, which is 0 where it is new. Good until the next call.
  Counted& at(TokenPair pair) {
    if (used_ * 2 >= slots_.size()) grow();
    auto& slot = find(pair);
    if (slot.pair == kFree) {
      slot.pair = pair;
      ++used_;
    }
    return slot.counted;
  }

 private:
  static constexpr TokenPair kFree{UINT32_MAX, UINT32_MAX};
  static constexpr std::size_t kFirstSlots = std::size_t{1} << 16U;
  struct Slot {
    TokenPair pair = kFree;
    Counted counted;
  };
  Slot& find(TokenPair pair) {
    const auto mask = slots_.size() - 1;
    auto place = mix_bits(std::uint64_t{pair.left} << 32U | pair.right) & mask;
    while (slots_[place].pair != pair && slots_[place].pair != kFree) place = (place + 1) & mask;
    return slots_[place];
  }
  void grow() {
    std::vector<Slot> before(slots_.empty() ? kFirstSlots : slots_.size() * 2);
    before.swap(slots_);
    for (const auto& slot : before)
      if (slot.pair != kFree) find(slot.pair) = slot;
  }

  std::vector<Slot> slots_;
  std::size_t used_ = 0;
};

}  // namespace moe
