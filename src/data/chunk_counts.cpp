#include "moe/data/chunk_counts.h"

#include <atomic>
#include <stdexcept>

#include "data/chunk_hash.h"
#include "data/require_utf8.h"
#include "data/workers.h"
#include "moe/data/splitter.h"
#include "moe/data/utf8.h"

namespace moe {

namespace {

constexpr std::uint64_t kHashPart = 0xFFFFFFFF00000000ULL;
constexpr std::size_t kFirstSlots = 1024;
constexpr std::size_t kPieceBytes = std::size_t{1} << 20U;  // a worker's share at a time

void count_chunks(std::string_view utf8, ChunkCounts& counts) {
  for (ChunkReader reader(utf8); !reader.at_end();) counts.add_chunk(reader.next(), 1);
}

/// Throws for the first text that is not UTF-8.
void require_all_utf8(std::span<const std::string_view> texts, std::string_view where,
                      int threads) {
  if (texts.size() == 1) return require_utf8(texts[0], where, threads);
  std::atomic<std::size_t> first_bad{texts.size()};
  share_work(threads, texts.size(), [&](std::size_t, std::size_t text) {
    if (!find_invalid_utf8(texts[text])) return;
    auto bad = first_bad.load();
    while (text < bad && !first_bad.compare_exchange_weak(bad, text)) {
    }
  });
  if (first_bad < texts.size()) require_utf8(texts[first_bad], where);
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

void ChunkCounts::add_texts(std::span<const std::string_view> texts, std::string_view where,
                            int threads) {
  require_all_utf8(texts, where, threads);
  std::vector<std::string_view> pieces;
  for (const auto text : texts)
    for (const auto piece : cut_into_pieces(text, kPieceBytes)) pieces.push_back(piece);
  if (threads <= 1 || pieces.size() <= 1) {
    for (const auto piece : pieces) count_chunks(piece, *this);
    return;
  }
  std::vector<ChunkCounts> apart(static_cast<std::size_t>(threads));
  share_work(threads, pieces.size(), [&](std::size_t worker, std::size_t piece) {
    count_chunks(pieces[piece], apart[worker]);
  });
  for (auto& part : apart) {
    for (std::size_t i = 0; i < part.size(); ++i) add_chunk(part.chunk(i), part.count(i));
    part = {};  // else all chunks would be there twice at the end
  }
}

}  // namespace moe
