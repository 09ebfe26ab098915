#pragma once

#include <string>
#include <string_view>

namespace moe {

/// Turns bytes that come piece by piece into UTF-8 text. The beginning of a character is held back
/// until the rest comes; each longest beginning of one that goes wrong becomes U+FFFD (Unicode 15,
/// section 3.9, as Rust's and Python's decoders do it). However the bytes are cut, the text is the
/// same.
class Utf8Stream {
 public:
  /// The text that is complete by now.
  std::string push(std::string_view bytes);
  /// What was held back, as U+FFFD; "" where nothing was.
  std::string finish();

 private:
  std::string held_;  // the beginning of one character, at most three bytes
};

}  // namespace moe
