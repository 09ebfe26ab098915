#pragma once

#include <concepts>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace moe {

namespace detail {
void append(std::string& out, double value);
void append(std::string& out, long long value);
void append(std::string& out, unsigned long long value);
inline void append(std::string& out, std::string_view value) { out += value; }
inline void append(std::string& out, const char* value) { out += value; }
inline void append(std::string& out, const std::string& value) { out += value; }
inline void append(std::string& out, char value) { out += value; }
inline void append(std::string& out, bool value) { out += value ? "true" : "false"; }
inline void append(std::string& out, float value) { append(out, static_cast<double>(value)); }
template <std::signed_integral T>
void append(std::string& out, T value) {
  append(out, static_cast<long long>(value));
}
template <std::unsigned_integral T>
void append(std::string& out, T value) {
  append(out, static_cast<unsigned long long>(value));
}
}  // namespace detail

/// The parts one after another as text; numbers in the shortest form that reads back exactly.
/// This is what stands for fmt in files that see torch, whose own fmt shadows the system's.
template <class... Parts>
std::string cat(const Parts&... parts) {
  std::string out;
  (detail::append(out, parts), ...);
  return out;
}

/// `value` with `decimals` digits after the point, e.g. fixed(1.7439, 2) is "1.74".
std::string fixed(double value, int decimals);

/// 1115394 as "1,115,394".
std::string grouped(long long value);

/// Bytes for people: "36.0 MB" (powers of ten).
std::string human_bytes(double bytes);

/// Seconds for people: "12.3 s", "4 min 05 s", "2 h 03 min".
std::string human_seconds(double seconds);

/// The candidate with the smallest edit distance to `word`, or "" when none is near enough to be a
/// plausible typo (more than max(2, a third of the word's length) edits away).
std::string_view nearest(std::string_view word, std::span<const std::string> candidates);

/// The parts joined by `separator`.
std::string join(std::span<const std::string> parts, std::string_view separator);

/// Whether quotes are made visible too, for a text that is going to stand between quotes.
enum class Quotes { escaped, kept };

/// `text` with control characters, quotes and invalid UTF-8 made visible and cut to `max_length`
/// bytes, so that hostile names can stand in a message.
std::string printable(std::string_view text, std::size_t max_length = 60,
                      Quotes quotes = Quotes::escaped);

/// Whether `text` is well-formed UTF-8, as all that goes into a JSON file has to be.
bool is_utf8(std::string_view text);

/// `text` with each control character but line end and tab as `escape` and two hexadecimal digits,
/// so that it can not steer a terminal.
std::string without_controls(std::string_view text, std::string_view escape = "\\x");

/// `text` as UTF-8 that any file may hold: each byte that is not UTF-8, and each control character
/// but tab and line feed, is U+FFFD.
std::string clean_utf8(std::string_view text);

}  // namespace moe
