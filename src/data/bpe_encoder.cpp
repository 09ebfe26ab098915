#include "moe/data/bpe_encoder.h"

#include <algorithm>

#include "data/bpe_merging.h"
#include "data/bpe_tables.h"
#include "data/chunk_hash.h"
#include "moe/data/splitter.h"

namespace moe {

namespace {

constexpr std::size_t kLongestRemembered = 128;  // [bytes] longer chunks seldom repeat
constexpr std::size_t kFewestSlots = std::size_t{1} << 8U;
constexpr std::size_t kMostSlots = std::size_t{1} << 19U;       // 16 bytes each
constexpr std::size_t kMostRemembered = std::size_t{1} << 22U;  // words of 4 bytes

}  // namespace

/// Chunks with their ids: a flat table that points into one stretch of memory, where the ids of a
/// chunk lie before its bytes. When it is full it begins anew, which costs less than to know what
/// is old.
struct BpeEncoder::Cache {
  struct Slot {
    std::uint64_t hash = 0;
    std::uint32_t begin = 0;  // in words
    std::uint16_t ids = 0;    // 0: the slot is free
    std::uint16_t bytes = 0;
  };
  std::vector<Slot> slots = std::vector<Slot>(kFewestSlots);
  std::vector<std::int32_t> words;
  std::size_t used = 0;

  Slot& find(std::string_view chunk, std::uint64_t hash) {
    const auto mask = slots.size() - 1;
    auto place = hash & mask;
    for (; slots[place].ids != 0; place = (place + 1) & mask) {
      const auto& slot = slots[place];
      if (slot.hash == hash && slot.bytes == chunk.size() &&
          std::memcmp(words.data() + slot.begin + slot.ids, chunk.data(), chunk.size()) == 0)
        break;
    }
    return slots[place];
  }

  void add(std::string_view chunk, std::uint64_t hash, std::span<const std::int32_t> ids) {
    const auto chunk_words = (chunk.size() + sizeof(std::int32_t) - 1) / sizeof(std::int32_t);
    if (words.size() + ids.size() + chunk_words > kMostRemembered || used * 2 >= kMostSlots)
      clear();
    if (used * 2 >= slots.size()) grow();
    auto& slot = find(chunk, hash);
    slot = {hash, static_cast<std::uint32_t>(words.size()), static_cast<std::uint16_t>(ids.size()),
            static_cast<std::uint16_t>(chunk.size())};
    words.insert(words.end(), ids.begin(), ids.end());
    words.resize(words.size() + chunk_words);
    std::memcpy(words.data() + slot.begin + slot.ids, chunk.data(), chunk.size());
    ++used;
  }

  void clear() {
    std::ranges::fill(slots, Slot{});
    words.clear();
    used = 0;
  }

  void grow() {
    std::vector<Slot> before(slots.size() * 2);
    before.swap(slots);
    const auto mask = slots.size() - 1;
    for (const auto& slot : before) {
      if (slot.ids == 0) continue;
      auto place = slot.hash & mask;
      while (slots[place].ids != 0) place = (place + 1) & mask;
      slots[place] = slot;
    }
  }
};

BpeEncoder::BpeEncoder(const BpeTokenizer& tokenizer)
    : tables_(tokenizer.tables_), cache_(std::make_unique<Cache>()) {}
BpeEncoder::~BpeEncoder() = default;
BpeEncoder::BpeEncoder(BpeEncoder&&) noexcept = default;
BpeEncoder& BpeEncoder::operator=(BpeEncoder&&) noexcept = default;

void BpeEncoder::append_chunk(std::string_view chunk, std::vector<std::int32_t>& ids) {
  if (tables_->vocabulary.whole_chunks) {
    const auto whole = tables_->ids.find(chunk);
    if (whole != tables_->ids.end()) return ids.push_back(whole->second);
  }
  merge_chunk(*tables_, chunk, ids);
}

void BpeEncoder::append(std::string_view utf8, std::vector<std::int32_t>& ids) {
  for (ChunkReader reader(utf8); !reader.at_end();) {
    const auto chunk = reader.next();
    if (chunk.size() == 1) {
      ids.push_back(tables_->byte_ids[static_cast<unsigned char>(chunk[0])]);
      continue;
    }
    if (chunk.size() > kLongestRemembered) {
      append_chunk(chunk, ids);
      continue;
    }
    const auto hash = chunk_hash(chunk);
    const auto& known = cache_->find(chunk, hash);
    if (known.ids == 0) {
      const auto before = ids.size();
      append_chunk(chunk, ids);
      cache_->add(chunk, hash, std::span(ids).subspan(before));
      continue;
    }
    const auto* first = cache_->words.data() + known.begin;
    if (known.ids == 1)
      ids.push_back(*first);
    else
      ids.insert(ids.end(), first, first + known.ids);
  }
}

}  // namespace moe
