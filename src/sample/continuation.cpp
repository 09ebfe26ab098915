#include "sample/continuation.h"

#include <algorithm>
#include <utility>

namespace moe {

namespace {

/// The last place up to `at` where a character of `utf8` begins, or its end.
std::size_t character_begin(std::string_view utf8, std::size_t at) {
  constexpr unsigned kMask = 0xC0, kInside = 0x80;
  while (at > 0 && at < utf8.size() && (static_cast<unsigned char>(utf8[at]) & kMask) == kInside)
    --at;
  return at;
}

}  // namespace

bool Continuation::append(std::int32_t token, std::string_view text) {
  text_ += text;
  tokens_.push_back(token);
  ends_.push_back(text_.size());
  const auto found = find_stop(text.size());
  if (found == std::string::npos) return false;
  cut(found);
  return true;
}

std::size_t Continuation::find_stop(std::size_t added) const {
  auto first = std::string::npos;
  for (const auto& stop : stops_) {
    // A match must end in the added text: what came before was searched already.
    const auto reach = added + stop.size() - 1;
    const auto from = text_.size() > reach ? text_.size() - reach : 0;
    first = std::min(first, text_.find(stop, from));
  }
  return first;
}

void Continuation::cut(std::size_t end) {
  // Whole characters only: a stop text that begins inside one takes it along.
  text_.resize(character_begin(text_, end));
  while (!ends_.empty() && ends_.back() > text_.size()) drop_token();
  // Then the tokens that began the first of those characters.
  while (!ends_.empty() && ends_.back() == (ends_.size() > 1 ? ends_[ends_.size() - 2] : 0))
    drop_token();
}

void Continuation::drop_token() {
  ends_.pop_back();
  tokens_.pop_back();
}

std::size_t Continuation::held_back() const {
  std::size_t longest = 0;
  const std::string_view text = text_;
  for (const std::string_view stop : stops_)
    for (auto size = std::min(stop.size() - 1, text.size()); size > longest; --size)
      if (text.ends_with(stop.substr(0, size))) longest = size;
  return longest;
}

std::string_view Continuation::take(bool ended) {
  const auto end = character_begin(text_, text_.size() - (ended ? 0 : held_back()));
  const auto begin = std::exchange(taken_, std::max(taken_, end));
  return std::string_view(text_).substr(begin, taken_ - begin);
}

}  // namespace moe
