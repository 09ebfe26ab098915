#pragma once

#include <cstdint>
#include <cstring>
#include <string_view>

namespace moe {

/// Mixes 64 bits so that all of them depend on each (the finaliser of MurmurHash3).
inline std::uint64_t mix_bits(std::uint64_t bits) {
  bits ^= bits >> 33U;
  bits *= 0xFF51AFD7ED558CCDULL;
  bits ^= bits >> 33U;
  bits *= 0xC4CEB9FE1A85EC53ULL;
  return bits ^ bits >> 33U;
}

/// Of a few bytes, most often less than sixteen. Not proof against an adversary: whoever wants one
/// slot for all chunks of a text can have that, and waits longer.
inline std::uint64_t chunk_hash(std::string_view chunk) {
  constexpr std::uint64_t kFactor = 0x9E3779B97F4A7C15ULL;
  const auto load = [&](std::size_t at, std::size_t bytes) {
    std::uint64_t word = 0;
    std::memcpy(&word, chunk.data() + at, bytes);
    return word;
  };
  const auto size = chunk.size();
  if (size < 8) {  // two loads of fixed size that may overlap: a copy of unknown size is a call
    std::uint64_t word = size;
    if (size >= 4)
      word = load(0, 4) << 32U | load(size - 4, 4);
    else if (size > 0)
      word = load(0, 1) << 16U | load(size / 2, 1) << 8U | load(size - 1, 1);
    return mix_bits(word ^ size * kFactor);
  }
  std::uint64_t hash = size * kFactor;
  for (std::size_t at = 0; at + 8 < size; at += 8)
    hash = (hash ^ load(at, 8)) * kFactor ^ hash >> 29U;
  return mix_bits(hash ^ load(size - 8, 8));
}

}  // namespace moe
