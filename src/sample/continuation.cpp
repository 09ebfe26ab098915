#include "sample/continuation.h"

#include <algorithm>
#include <utility>

namespace moe {

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
  // Whole tokens only: a stop text that begins inside a character takes the character with it.
  while (!ends_.empty() && ends_.back() > end) {
    ends_.pop_back();
    tokens_.pop_back();
  }
  text_.resize(ends_.empty() ? 0 : ends_.back());
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
  const auto limit = text_.size() - (ended ? 0 : held_back());
  const auto past = std::upper_bound(ends_.begin(), ends_.end(), limit);
  const auto end = past == ends_.begin() ? 0 : *(past - 1);  // a token boundary: whole characters
  const auto begin = std::exchange(taken_, std::max(taken_, end));
  return std::string_view(text_).substr(begin, taken_ - begin);
}

}  // namespace moe
