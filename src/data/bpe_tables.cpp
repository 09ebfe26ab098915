#include "data/bpe_tables.h"

#include <algorithm>
#include <bit>
#include <set>
#include <unordered_set>
#include <utility>

#include "moe/base/text.h"

namespace moe {

MergeRanks::MergeRanks(const std::vector<BpeMerge>& merges)
    : slots_(std::bit_ceil(merges.size() * 2 + 2)),
      mask_(slots_.size() - 1),
      shift_(64U - static_cast<unsigned>(std::countr_zero(slots_.size()))) {
  for (std::size_t rank = 0; rank < merges.size(); ++rank) {
    const auto& merge = merges[rank];
    const auto key = key_of(merge.left, merge.right);
    auto place = place_of(key);
    while (slots_[place].found.rank != kNoRank) place = (place + 1) & mask_;
    slots_[place] = {key, {static_cast<std::uint32_t>(rank), merge.result}};
  }
}

BpeTables::BpeTables(BpeVocabulary given) : vocabulary(std::move(given)), ranks(vocabulary.merges) {
  const auto& tokens = vocabulary.tokens;
  is_special.assign(tokens.size(), false);
  for (const auto id : vocabulary.specials) {
    is_special[static_cast<std::size_t>(id)] = true;
    const auto& text = tokens[static_cast<std::size_t>(id)];
    if (first_bytes.find(text[0]) == std::string::npos) first_bytes += text[0];
    begin_with[static_cast<unsigned char>(text[0])].push_back(id);
  }
  for (auto& ids_of_byte : begin_with)
    std::ranges::stable_sort(ids_of_byte, std::greater<>(),
                             [&](auto id) { return tokens[static_cast<std::size_t>(id)].size(); });
  for (std::size_t id = 0; id < tokens.size(); ++id) {
    if (is_special[id]) continue;
    if (tokens[id].size() == 1)
      byte_ids[static_cast<unsigned char>(tokens[id][0])] = static_cast<std::int32_t>(id);
    if (vocabulary.whole_chunks) ids.emplace(tokens[id], static_cast<std::int32_t>(id));
  }
}

std::vector<TextPart> BpeTables::parts(std::string_view text) const {
  std::vector<TextPart> found;
  std::size_t begin = 0;
  const auto next = [&](std::size_t at) {  // where a special token may begin
    return first_bytes.size() == 1 ? text.find(first_bytes[0], at)
                                   : text.find_first_of(first_bytes, at);
  };
  for (auto at = next(0); at < text.size(); at = next(at)) {
    const auto rest = text.substr(at);
    const auto& candidates = begin_with[static_cast<unsigned char>(text[at])];
    const auto special = std::ranges::find_if(candidates, [&](auto id) {
      return rest.starts_with(vocabulary.tokens[static_cast<std::size_t>(id)]);
    });
    if (special == candidates.end()) {
      ++at;
      continue;
    }
    if (at > begin) found.push_back({text.substr(begin, at - begin)});
    const auto size = vocabulary.tokens[static_cast<std::size_t>(*special)].size();
    found.push_back({rest.substr(0, size), *special});
    at += size;
    begin = at;
  }
  if (begin < text.size()) found.push_back({text.substr(begin)});
  return found;
}

namespace {

std::string name_of(const BpeVocabulary& vocabulary, std::size_t id) {
  return cat("token ", id, " (\"", printable(vocabulary.tokens[id]), "\")");
}

std::string token_problem(const BpeVocabulary& vocabulary, const std::vector<bool>& is_special) {
  std::unordered_set<std::string_view> seen;
  std::array<bool, 256> has_byte{};
  for (std::size_t id = 0; id < vocabulary.tokens.size(); ++id) {
    const auto& bytes = vocabulary.tokens[id];
    if (bytes.empty()) return cat("token ", id, " is empty");
    if (!seen.insert(bytes).second) return name_of(vocabulary, id) + " stands there twice";
    if (bytes.size() > 1) continue;
    if (is_special[id]) return name_of(vocabulary, id) + " is special, yet a byte of any text";
    has_byte[static_cast<unsigned char>(bytes[0])] = true;
  }
  const auto missing = std::ranges::find(has_byte, false);
  if (missing != has_byte.end())
    return cat("the byte ", missing - has_byte.begin(), " has no token, so some texts have no ids");
  return "";
}

std::string merge_problem(const BpeVocabulary& vocabulary, const std::vector<bool>& is_special) {
  const auto& tokens = vocabulary.tokens;
  std::set<std::pair<std::int32_t, std::int32_t>> seen;
  for (std::size_t rank = 0; rank < vocabulary.merges.size(); ++rank) {
    const auto& merge = vocabulary.merges[rank];
    const auto index = [](std::int32_t id) { return static_cast<std::size_t>(id); };
    for (const auto id : {merge.left, merge.right, merge.result}) {
      if (index(id) >= tokens.size()) return cat("merge ", rank, " names the token ", id);
      if (is_special[index(id)])
        return cat("merge ", rank, " touches ", name_of(vocabulary, index(id)),
                   ", which is special");
    }
    if (tokens[index(merge.left)] + tokens[index(merge.right)] != tokens[index(merge.result)])
      return cat("merge ", rank, " does not make ", name_of(vocabulary, index(merge.result)));
    if (!seen.emplace(merge.left, merge.right).second)
      return cat("merge ", rank, " stands there twice");
  }
  return "";
}

}  // namespace

std::string bpe_problem(const BpeVocabulary& vocabulary) {
  std::vector<bool> is_special(vocabulary.tokens.size(), false);
  for (const auto id : vocabulary.specials) {
    if (static_cast<std::size_t>(id) >= vocabulary.tokens.size())
      return cat("the special token ", id, " does not exist");
    is_special[static_cast<std::size_t>(id)] = true;
  }
  if (!std::ranges::is_sorted(vocabulary.specials)) return "special tokens are out of order";
  const auto problem = token_problem(vocabulary, is_special);
  return problem.empty() ? merge_problem(vocabulary, is_special) : problem;
}

}  // namespace moe
