#include "data/bpe_merging.h"

#include <algorithm>
#include <array>
#include <queue>

namespace moe {

namespace {

constexpr std::size_t kShort = 48;  // [bytes] up to which searching is faster than a heap

void merge_short(const BpeTables& tables, std::string_view chunk, std::vector<std::int32_t>& ids) {
  std::array<std::int32_t, kShort> tokens;       // NOLINT: filled as far as it is read
  std::array<MergeRanks::Found, kShort> merges;  // NOLINT: of each token with the next
  auto size = chunk.size();
  const auto look_up = [&](std::size_t at) {
    merges[at] = tables.ranks.find(tokens[at], tokens[at + 1]);
  };
  for (std::size_t at = 0; at < size; ++at)
    tokens[at] = tables.byte_ids[static_cast<unsigned char>(chunk[at])];
  for (std::size_t at = 0; at + 1 < size; ++at) look_up(at);
  while (size > 1) {
    std::size_t first = 0;
    for (std::size_t at = 1; at + 1 < size; ++at)
      if (merges[at].rank < merges[first].rank) first = at;
    if (merges[first].rank == kNoRank) break;
    tokens[first] = merges[first].result;
    std::copy(tokens.begin() + first + 2, tokens.begin() + size, tokens.begin() + first + 1);
    std::copy(merges.begin() + first + 1, merges.begin() + size - 1, merges.begin() + first);
    --size;
    if (first + 1 < size) look_up(first);
    if (first > 0) look_up(first - 1);
  }
  ids.insert(ids.end(), tokens.begin(), tokens.begin() + size);
}

constexpr std::uint32_t kNowhere = UINT32_MAX;

/// A token in a list of those that are left.
struct Link {
  std::int32_t token;  // -1: merged into the one before
  std::uint32_t before, after;
};

/// A merge that could be made when it was put into the heap.
struct Possible {
  std::uint32_t rank, place;
  std::int32_t left, right;
  bool operator>(const Possible& other) const {
    return rank != other.rank ? rank > other.rank : place > other.place;
  }
};

class LongChunk {
 public:
  LongChunk(const BpeTables& tables, std::string_view chunk);
  void merge();
  void append_to(std::vector<std::int32_t>& ids) const {
    for (const auto& link : links_)
      if (link.token >= 0) ids.push_back(link.token);
  }

 private:
  void offer(std::uint32_t place) {
    const auto after = links_[place].after;
    if (after == kNowhere) return;
    const auto left = links_[place].token, right = links_[after].token;
    const auto found = tables_.ranks.find(left, right);
    if (found.rank != kNoRank) heap_.push({found.rank, place, left, right});
  }

  const BpeTables& tables_;
  std::vector<Link> links_;
  std::priority_queue<Possible, std::vector<Possible>, std::greater<>> heap_;
};

LongChunk::LongChunk(const BpeTables& tables, std::string_view chunk) : tables_(tables) {
  const auto size = static_cast<std::uint32_t>(chunk.size());
  links_.reserve(size);
  for (std::uint32_t at = 0; at < size; ++at)
    links_.push_back({tables.byte_ids[static_cast<unsigned char>(chunk[at])],
                      at > 0 ? at - 1 : kNowhere, at + 1 < size ? at + 1 : kNowhere});
  for (std::uint32_t at = 0; at < size; ++at) offer(at);
}

void LongChunk::merge() {
  while (!heap_.empty()) {
    const auto best = heap_.top();
    heap_.pop();
    auto& left = links_[best.place];
    if (left.token != best.left || left.after == kNowhere) continue;  // merged otherwise since
    auto& right = links_[left.after];
    if (right.token != best.right) continue;
    left.token = tables_.ranks.find(best.left, best.right).result;
    right.token = -1;
    left.after = right.after;
    if (left.after != kNowhere) links_[left.after].before = best.place;
    offer(best.place);
    if (left.before != kNowhere) offer(left.before);
  }
}

}  // namespace

void merge_chunk(const BpeTables& tables, std::string_view chunk, std::vector<std::int32_t>& ids) {
  if (chunk.size() <= kShort) return merge_short(tables, chunk, ids);
  LongChunk whole(tables, chunk);
  whole.merge();
  whole.append_to(ids);
}

}  // namespace moe
