#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace moe {

/// The text of one sample as it grows, token by token, up to a stop text.
class Continuation {
 public:
  /// `stops` must outlive it; none is empty.
  explicit Continuation(std::span<const std::string> stops) : stops_(stops) {}

  /// Adds a token and the text that it completed, whole characters; true when that completed a stop
  /// text, which is then cut off.
  bool append(std::int32_t token, std::string_view text);
  /// Adds to the last token's text what showed only at the end.
  void complete(std::string_view text) { text_ += text; }
  /// Text not handed out yet that no stop text can reach any more; all the rest when `ended`.
  std::string_view take(bool ended);

  const std::vector<std::int32_t>& tokens() const { return tokens_; }
  const std::string& text() const { return text_; }

 private:
  std::size_t find_stop(std::size_t added) const;  // npos: none
  std::size_t held_back() const;                   // bytes at the end that may begin a stop text
  void cut(std::size_t end);
  void drop_token();

  std::span<const std::string> stops_;
  std::string text_;
  std::vector<std::int32_t> tokens_;
  std::vector<std::size_t> ends_;  // of each token in text_
  std::size_t taken_ = 0;          // bytes handed out
};

}  // namespace moe
