#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace moe {

/// Where two tokens stand side by side they may become one, whose bytes are theirs.
struct BpeMerge {
  std::int32_t left, right, result;  // ids
  friend bool operator==(const BpeMerge&, const BpeMerge&) = default;
};

/// What a byte-level BPE tokenizer consists of.
struct BpeVocabulary {
  std::vector<std::string> tokens;     // the bytes of each id; of a special one, its text
  std::vector<std::int32_t> specials;  // ids of tokens that no ordinary text becomes, ascending
  std::vector<BpeMerge> merges;        // the first of them that applies anywhere is made first
  bool whole_chunks = false;  // a chunk that is a token is taken whole, whatever the merges
  friend bool operator==(const BpeVocabulary&, const BpeVocabulary&) = default;
};

/// The token that separates documents.
inline constexpr const char* kEndOfText = "<|endoftext|>";

/// What keeps `vocabulary` from being one, or "": every byte has a token, tokens are distinct and
/// not empty, ids exist, a merge's bytes are those of its parts, no pair is merged twice, no merge
/// touches a special token.
std::string bpe_problem(const BpeVocabulary& vocabulary);

}  // namespace moe
