#include "moe/data/chunk_counts.h"

#include <stdexcept>

#include "data/chunk_hash.h"
#include "data/require_utf8.h"
#include "data/workers.h"
#include "moe/data/splitter.h"

namespace moe {

namespace {

constexpr std::uint64_t kHashPart = 0xFFFFFFFF00000000ULL;
constexpr std::size_t kFirstSlots = 1024;
constexpr std::size_t kPieceBytes = std::size_t{1} << 20U;  // a worker's share at a time

void count_chunks(std::string_view utf8, ChunkCounts& counts) {
  for (ChunkReader reader(utf8); !reader.at_end();) counts.add_chunk(reader.next(), 1);
}

}  // namespace

void ChunkCounts::add_chunk(std::string_view chunk, std::int64_t count) {
  if (entries_.size() * 2 >= slots_.size()) grow();
  const auto hash = chunk_hash(chunk);
  const auto mask = slots_.size() - 1;
  auto place = hash & mask;
  for (; slots_[place] != 0; place = (place + 1) & mask) {
    if ((slots_[place] & kHashPart) != (hash & kHashPart)) continue;
    const auto index = static_cast<std::uint32_t>(slots_[place]) - 1;
    if (this->chunk(index) != chunk) continue;
    entries_[index].count += count;
    return;
  }
  if (entries_.size() >= UINT32_MAX) throw std::length_error("more than 2^32 distinct chunks");
  entries_.push_back({bytes_.size(), chunk.size(), count});
  bytes_ += chunk;
  slots_[place] = (hash & kHashPart) | entries_.size();
}

void ChunkCounts::grow() {
  slots_.assign(slots_.empty() ? kFirstSlots : slots_.size() * 2, 0);
  const auto mask = slots_.size() - 1;
  for (std::size_t index = 0; index < entries_.size(); ++index) {
    const auto hash = chunk_hash(chunk(index));
    auto place = hash & mask;
    while (slots_[place] != 0) place = (place + 1) & mask;
    slots_[place] = (hash & kHashPart) | (index + 1);
  }
}

void ChunkCounts::add_text(std::string_view utf8, std::string_view where, int threads) {
  require_utf8(utf8, where, threads);
  const auto cuts = cut_into_pieces(utf8, kPieceBytes);
  if (threads <= 1 || cuts.size() <= 1) return count_chunks(utf8, *this);
  std::vector<ChunkCounts> apart(static_cast<std::size_t>(threads));
  share_work(threads, cuts.size(), [&](std::size_t worker, std::size_t piece) {
    count_chunks(cuts[piece], apart[worker]);
  });
  for (const auto& part : apart)
    for (std::size_t i = 0; i < part.size(); ++i) add_chunk(part.chunk(i), part.count(i));
}

}  // namespace moe
