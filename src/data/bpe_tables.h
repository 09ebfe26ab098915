#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "moe/data/bpe_vocabulary.h"

namespace moe {

inline constexpr std::uint32_t kNoRank = UINT32_MAX;

/// The place of each merge in their order, by its pair: a flat table, as encoding is look-ups in
/// it.
class MergeRanks {
 public:
  struct Found {
    std::uint32_t rank = kNoRank;
    std::int32_t result = -1;
  };
  explicit MergeRanks(const std::vector<BpeMerge>& merges);
  Found find(std::int32_t left, std::int32_t right) const {
    const auto key = key_of(left, right);
    auto place = place_of(key);
    while (slots_[place].key != key && slots_[place].found.rank != kNoRank)
      place = (place + 1) & mask_;
    return slots_[place].key == key ? slots_[place].found : Found{};
  }

 private:
  struct Slot {
    std::uint64_t key = 0;
    Found found;  // kNoRank: free
  };
  static std::uint64_t key_of(std::int32_t left, std::int32_t right) {
    return std::uint64_t{static_cast<std::uint32_t>(left)} << 32U |
           static_cast<std::uint32_t>(right);
  }

  /// The upper bits of one product: enough for numbers that are ids, and half the time of mix_bits.
  std::size_t place_of(std::uint64_t key) const { return key * 0x9E3779B97F4A7C15ULL >> shift_; }

  std::vector<Slot> slots_;
  std::size_t mask_;
  unsigned shift_;
};

/// A stretch of text without special tokens, or one special token.
struct TextPart {
  std::string_view text;
  std::int32_t special = -1;
};

/// What a tokenizer looks things up in. Its views point into its vocabulary: it is never copied.
struct BpeTables {
  explicit BpeTables(BpeVocabulary given);
  BpeTables(const BpeTables&) = delete;
  BpeTables& operator=(const BpeTables&) = delete;

  /// The text cut at special tokens: the first one from the left, of those the longest.
  std::vector<TextPart> parts(std::string_view text) const;

  BpeVocabulary vocabulary;
  std::array<std::int32_t, 256> byte_ids{};
  MergeRanks ranks;
  std::vector<bool> is_special;  // by id
  std::string first_bytes;       // of special tokens
  std::array<std::vector<std::int32_t>, 256>
      begin_with;  // special tokens by first byte, longest first
  std::unordered_map<std::string_view, std::int32_t> ids;  // ordinary tokens; where whole_chunks
};

}  // namespace moe
