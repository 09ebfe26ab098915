#include "moe/data/utf8.h"

#include <algorithm>
#include <cstdint>
#include <cstring>

namespace moe {

namespace {

/// Bytes of the sequence that `lead` begins, 0 for a byte that cannot begin one.
std::size_t sequence_length(unsigned char lead) {
  if (lead < 0x80) return 1;
  if (lead >= 0xC2 && lead <= 0xDF) return 2;
  if (lead >= 0xE0 && lead <= 0xEF) return 3;
  if (lead >= 0xF0 && lead <= 0xF4) return 4;
  return 0;
}

/// The code point at the front of `text`, which holds its `length` bytes.
char32_t decode_one(std::string_view text, std::size_t length) {
  const auto lead = static_cast<unsigned char>(text[0]);
  if (length == 1) return lead;
  auto symbol = static_cast<char32_t>(lead & (0x7FU >> length));
  for (std::size_t i = 1; i < length; ++i)
    symbol = (symbol << 6U) | (static_cast<unsigned char>(text[i]) & 0x3FU);
  return symbol;
}

bool is_well_formed(std::string_view text, std::size_t length) {
  if (length == 0 || text.size() < length) return false;
  for (std::size_t i = 1; i < length; ++i)
    if ((static_cast<unsigned char>(text[i]) & 0xC0U) != 0x80U) return false;
  const auto symbol = decode_one(text, length);
  const bool overlong = (length == 3 && symbol < 0x800) || (length == 4 && symbol < 0x10000);
  return !overlong && symbol <= 0x10FFFF && !(symbol >= 0xD800 && symbol <= 0xDFFF);
}

/// Whether the eight bytes from `at` on are there and are ASCII.
bool is_ascii_word(std::string_view text, std::size_t at) {
  std::uint64_t word = 0;
  if (text.size() - at < sizeof word) return false;
  std::memcpy(&word, text.data() + at, sizeof word);
  return (word & 0x8080808080808080U) == 0;
}

}  // namespace

std::optional<std::size_t> find_invalid_utf8(std::string_view text) {
  for (std::size_t at = 0; at < text.size();) {
    if (is_ascii_word(text, at)) {  // most of most texts, eight bytes at once
      at += sizeof(std::uint64_t);
      continue;
    }
    const auto rest = text.substr(at);
    const auto length = sequence_length(static_cast<unsigned char>(rest[0]));
    if (!is_well_formed(rest, length)) return at;
    at += length;
  }
  return std::nullopt;
}

bool is_cut_symbol(std::string_view text) {
  if (text.empty()) return false;
  const auto is_tail = [](char c) { return (static_cast<unsigned char>(c) & 0xC0U) == 0x80U; };
  return text.size() < sequence_length(static_cast<unsigned char>(text[0])) &&
         std::ranges::all_of(text.substr(1), is_tail);
}

char32_t take_symbol(std::string_view& text) {
  const auto length = sequence_length(static_cast<unsigned char>(text[0]));
  const auto symbol = decode_one(text, length);
  text.remove_prefix(length);
  return symbol;
}

std::size_t count_symbols(std::string_view text) {
  const auto begins = [](char c) { return (static_cast<unsigned char>(c) & 0xC0U) != 0x80U; };
  return static_cast<std::size_t>(std::count_if(text.begin(), text.end(), begins));
}

std::vector<char32_t> decode_utf8(std::string_view text) {
  std::vector<char32_t> symbols;
  symbols.reserve(count_symbols(text));
  while (!text.empty()) symbols.push_back(take_symbol(text));
  return symbols;
}

void append_utf8(std::string& out, char32_t symbol) {
  const auto tail = [&](unsigned shift) {
    out += static_cast<char>(0x80U | ((symbol >> shift) & 0x3FU));
  };
  if (symbol < 0x80) {
    out += static_cast<char>(symbol);
  } else if (symbol < 0x800) {
    out += static_cast<char>(0xC0U | (symbol >> 6U));
    tail(0);
  } else if (symbol < 0x10000) {
    out += static_cast<char>(0xE0U | (symbol >> 12U));
    tail(6);
    tail(0);
  } else {
    out += static_cast<char>(0xF0U | (symbol >> 18U));
    tail(12);
    tail(6);
    tail(0);
  }
}

}  // namespace moe
