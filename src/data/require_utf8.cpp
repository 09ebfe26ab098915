#include "data/require_utf8.h"

#include <algorithm>
#include <optional>
#include <vector>

#include "data/workers.h"
#include "moe/base/error.h"
#include "moe/base/text.h"
#include "moe/data/utf8.h"

namespace moe {

namespace {

constexpr std::size_t kPieceToCheck = std::size_t{1} << 20U;  // [bytes]

/// Ends of pieces, each before a byte that does not continue a symbol: so none lies within one that
/// is well-formed, and what is wrong with the text is wrong within a piece.
std::vector<std::size_t> piece_ends(std::string_view text) {
  const auto continues = [](char c) { return (static_cast<unsigned char>(c) & 0xC0U) == 0x80U; };
  std::vector<std::size_t> ends;
  for (std::size_t end = 0; end < text.size();) {
    end = std::min(end + kPieceToCheck, text.size());
    while (end < text.size() && continues(text[end])) ++end;
    ends.push_back(end);
  }
  return ends;
}

std::optional<std::size_t> find_invalid(std::string_view text, int threads) {
  if (threads <= 1) return find_invalid_utf8(text);
  const auto ends = piece_ends(text);
  std::vector<std::optional<std::size_t>> found(ends.size());
  share_work(threads, ends.size(), [&](std::size_t, std::size_t piece) {
    const auto begin = piece == 0 ? 0 : ends[piece - 1];
    if (const auto bad = find_invalid_utf8(text.substr(begin, ends[piece] - begin)))
      found[piece] = begin + *bad;
  });
  const auto first = std::ranges::find_if(found, [](const auto& bad) { return bad.has_value(); });
  return first == found.end() ? std::nullopt : *first;
}

}  // namespace

void require_utf8(std::string_view utf8, std::string_view where, int threads) {
  if (const auto bad = find_invalid(utf8, threads))
    throw DataError(cat(where, ": byte ", *bad, " is not valid UTF-8; convert the text to UTF-8"));
}

}  // namespace moe
