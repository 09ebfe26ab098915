#include "moe/data/utf8_stream.h"

#include <algorithm>
#include <cstddef>

namespace moe {

namespace {

constexpr std::string_view kReplacement = "\xEF\xBF\xBD";

/// What stands at the front of some bytes: `size` of them are one character, or the longest
/// beginning of one; which is cut where the bytes end too early, and wrong otherwise.
struct Front {
  std::size_t size;
  enum class State { whole, cut, wrong } state;
};

/// The values that a second byte may have behind `lead` (Unicode 15, table 3-7).
struct Bounds {
  unsigned char least = 0x80, most = 0xBF;
};
Bounds second_byte(unsigned char lead) {
  if (lead == 0xE0) return {.least = 0xA0};
  if (lead == 0xED) return {.most = 0x9F};
  if (lead == 0xF0) return {.least = 0x90};
  if (lead == 0xF4) return {.most = 0x8F};
  return {};
}

std::size_t length_after(unsigned char lead) {
  if (lead < 0x80) return 1;
  if (lead < 0xC2 || lead > 0xF4) return 0;
  return lead < 0xE0 ? 2 : lead < 0xF0 ? 3 : 4;
}

Front front_of(std::string_view bytes) {
  const auto lead = static_cast<unsigned char>(bytes[0]);
  const auto length = length_after(lead);
  if (length == 0) return {1, Front::State::wrong};
  auto bounds = second_byte(lead);
  for (std::size_t i = 1; i < length; ++i) {
    if (i == bytes.size()) return {i, Front::State::cut};
    const auto byte = static_cast<unsigned char>(bytes[i]);
    if (byte < bounds.least || byte > bounds.most) return {i, Front::State::wrong};
    bounds = {};
  }
  return {length, Front::State::whole};
}

}  // namespace

std::string Utf8Stream::push(std::string_view bytes) {
  held_ += bytes;
  std::string text;
  text.reserve(held_.size());
  std::string_view rest = held_;
  while (!rest.empty()) {
    const auto front = front_of(rest);
    if (front.state == Front::State::cut) break;
    text += front.state == Front::State::whole ? rest.substr(0, front.size) : kReplacement;
    rest.remove_prefix(front.size);
  }
  held_.erase(0, held_.size() - rest.size());
  return text;
}

std::string Utf8Stream::finish() {
  if (held_.empty()) return "";
  held_.clear();
  return std::string(kReplacement);
}

}  // namespace moe
