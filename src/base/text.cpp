#include "moe/base/text.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <cmath>
#include <cstdint>

namespace moe {

namespace detail {

namespace {
template <class Number>
void append_number(std::string& out, Number value) {
  std::array<char, 40> buffer{};
  const auto end = std::to_chars(buffer.data(), buffer.data() + buffer.size(), value).ptr;
  out.append(buffer.data(), end);
}
}  // namespace

void append(std::string& out, double value) { append_number(out, value); }
void append(std::string& out, long long value) { append_number(out, value); }
void append(std::string& out, unsigned long long value) { append_number(out, value); }

}  // namespace detail

std::string fixed(double value, int decimals) {
  std::array<char, 400> buffer{};
  const auto end = std::to_chars(buffer.data(), buffer.data() + buffer.size(), value,
                                 std::chars_format::fixed, decimals)
                       .ptr;
  return {buffer.data(), end};
}

std::string grouped(long long value) {
  const auto digits = cat(value);
  const std::size_t first = value < 0 ? 1 : 0;
  std::string out;
  for (std::size_t i = 0; i < digits.size(); ++i) {
    if (i > first && (digits.size() - i) % 3 == 0) out += ',';
    out += digits[i];
  }
  return out;
}

std::string human_bytes(double bytes) {
  // The bounds are where rounding would print "1000".
  constexpr std::array<const char*, 5> units{" B", " kB", " MB", " GB", " TB"};
  std::size_t unit = 0;
  while (bytes >= (unit == 0 ? 999.5 : 999.95) && unit + 1 < units.size()) {
    bytes /= 1000;
    ++unit;
  }
  return fixed(bytes, unit == 0 ? 0 : 1) + units[unit];
}

std::string human_seconds(double seconds) {
  constexpr double kRoundsToMinute = 59.95;  // from here "60.0 s" would be printed
  constexpr double kLargestWhole = 1e15;     // beyond it, and for NaN, llround is undefined
  if (seconds < kRoundsToMinute || !(seconds < kLargestWhole)) return fixed(seconds, 1) + " s";
  const auto whole = std::llround(seconds);
  const auto two = [](long long value) { return cat(value < 10 ? "0" : "", value); };
  if (whole < 3600) return cat(whole / 60, " min ", two(whole % 60), " s");
  return cat(whole / 3600, " h ", two(whole / 60 % 60), " min");
}

namespace {

std::size_t edit_distance(std::string_view a, std::string_view b) {
  std::vector<std::size_t> row(b.size() + 1);
  for (std::size_t j = 0; j <= b.size(); ++j) row[j] = j;
  for (std::size_t i = 1; i <= a.size(); ++i) {
    auto diagonal = row[0];
    row[0] = i;
    for (std::size_t j = 1; j <= b.size(); ++j) {
      const auto substituted = diagonal + (a[i - 1] == b[j - 1] ? 0 : 1);
      diagonal = row[j];
      row[j] = std::min({row[j] + 1, row[j - 1] + 1, substituted});
    }
  }
  return row[b.size()];
}

}  // namespace

std::string_view nearest(std::string_view word, std::span<const std::string> candidates) {
  constexpr std::size_t kLongestWord = 200;  // hostile keys may be megabytes long
  if (word.size() > kLongestWord) return {};
  std::string_view best;
  auto best_distance = std::max<std::size_t>(2, word.size() / 3) + 1;
  for (const auto& candidate : candidates) {
    const auto distance = edit_distance(word, candidate);
    if (distance < best_distance) {
      best_distance = distance;
      best = candidate;
    }
  }
  return best;
}

std::string join(std::span<const std::string> parts, std::string_view separator) {
  std::string out;
  for (std::size_t i = 0; i < parts.size(); ++i) {
    if (i > 0) out += separator;
    out += parts[i];
  }
  return out;
}

namespace {

struct Symbol {
  std::uint32_t code_point = 0;
  std::size_t length = 0;  // [bytes]; 0 where the text is not UTF-8
};

/// The code point at the head of `text`; overlong forms, surrogates and cut ones are not UTF-8.
Symbol first_symbol(std::string_view text) {
  const auto byte = [&](std::size_t i) { return static_cast<std::uint32_t>(text[i]) & 0xFFU; };
  const auto lead = byte(0);
  if (lead < 0x80) return {lead, 1};
  const std::size_t length = lead >= 0xF0 ? 4 : lead >= 0xE0 ? 3 : 2;
  if (lead < 0xC2 || lead > 0xF4 || text.size() < length) return {};
  auto code_point = lead & (0xFFU >> (length + 1));
  for (std::size_t i = 1; i < length; ++i) {
    if ((byte(i) & 0xC0U) != 0x80U) return {};
    code_point = (code_point << 6U) | (byte(i) & 0x3FU);
  }
  const bool overlong =
      (length == 3 && code_point < 0x800) || (length == 4 && code_point < 0x10000);
  const bool surrogate = code_point >= 0xD800 && code_point <= 0xDFFF;
  if (overlong || surrogate || code_point > 0x10FFFF) return {};
  return {code_point, length};
}

/// Whether a terminal shows it as itself: no control, no invisible or direction-changing symbol.
bool is_visible(std::uint32_t c) {
  if (c < 0x20 || (c >= 0x7F && c <= 0xA0) || c == '"' || c == '\\' || c == 0xAD) return false;
  return !(c >= 0x200B && c <= 0x200F) && !(c >= 0x2028 && c <= 0x202E) &&
         !(c >= 0x2060 && c <= 0x206F) && c != 0xFEFF;
}

std::string escaped(std::string_view bytes) {
  constexpr std::string_view kHex = "0123456789abcdef";
  if (bytes == "\n") return "\\n";
  std::string out;
  for (const char c : bytes) {
    const auto byte = static_cast<unsigned char>(c);
    out += cat("\\x", kHex[byte >> 4U], kHex[byte & 15U]);
  }
  return out;
}

}  // namespace

std::string printable(std::string_view text, std::size_t max_length, Quotes quotes) {
  std::string out;
  while (!text.empty()) {
    const auto symbol = first_symbol(text);
    const auto bytes = text.substr(0, std::max<std::size_t>(1, symbol.length));
    const bool kept_quote = quotes == Quotes::kept && symbol.code_point == U'"';
    const bool plain = symbol.length > 0 && (kept_quote || is_visible(symbol.code_point));
    const auto shown = plain ? std::string(bytes) : escaped(bytes);
    if (out.size() + shown.size() > max_length) return out + "...";
    out += shown;
    text.remove_prefix(bytes.size());
  }
  return out;
}

bool is_utf8(std::string_view text) {
  while (!text.empty()) {
    const auto symbol = first_symbol(text);
    if (symbol.length == 0) return false;
    text.remove_prefix(symbol.length);
  }
  return true;
}

std::string without_controls(std::string_view text, std::string_view escape) {
  constexpr std::string_view kHex = "0123456789abcdef";
  std::string out;
  unsigned char before = 0;
  for (const char c : text) {
    const auto byte = static_cast<unsigned char>(c);
    const bool is_c0 = (byte < 0x20 && c != '\n' && c != '\t') || byte == 0x7F;
    const bool is_c1 = before == 0xC2 && byte >= 0x80 && byte < 0xA0;  // U+0080 to U+009F
    if (is_c1) out.pop_back();
    if (is_c0 || is_c1)
      out.append(escape).append(1, kHex[byte >> 4U]).append(1, kHex[byte & 15U]);
    else
      out += c;
    before = byte;
  }
  return out;
}

std::string clean_utf8(std::string_view text) {
  const auto is_control = [](std::uint32_t c) {
    return (c < 0x20 && c != '\t' && c != '\n') || (c >= 0x7F && c < 0xA0) || c == 0xFFFE ||
           c == 0xFFFF;
  };
  std::string out;
  while (!text.empty()) {
    const auto symbol = first_symbol(text);
    const bool is_sound = symbol.length > 0 && !is_control(symbol.code_point);
    const auto bytes = text.substr(0, std::max<std::size_t>(1, symbol.length));
    out += is_sound ? bytes : std::string_view("\xEF\xBF\xBD");
    text.remove_prefix(bytes.size());
  }
  return out;
}

}  // namespace moe
