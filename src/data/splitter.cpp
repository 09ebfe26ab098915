#include "moe/data/splitter.h"

#include <algorithm>

#include "data/split_ranges.h"

namespace moe {

namespace {

constexpr char32_t kBeyondClasses = 0x33000;  // all letters and numbers are below it

std::vector<SplitClass> make_classes() {
  std::vector<SplitClass> classes(kBeyondClasses, SplitClass::other);
  const auto fill = [&](std::span<const SplitRange> ranges, SplitClass value) {
    for (const auto [first, last] : ranges)
      std::fill(classes.begin() + first, classes.begin() + last + 1, value);
  };
  fill(letter_ranges(), SplitClass::letter);
  fill(number_ranges(), SplitClass::number);
  fill(space_ranges(), SplitClass::space);
  return classes;
}

/// One byte a code point: a search in the ranges would take longer than all else in a chunk.
const SplitClass* split_classes() {
  static const auto classes = make_classes();
  return classes.data();
}

struct Seen {
  SplitClass kind;
  const char* next;  // behind the symbol
};

/// The symbol at `at`, which is whole and well-formed.
inline Seen see(const SplitClass* classes, const char* at) {
  const auto byte = [at](int i) {
    return static_cast<char32_t>(static_cast<unsigned char>(at[i]));
  };
  const auto tail = [&](int i) { return byte(i) & 0x3FU; };
  const auto lead = byte(0);
  if (lead < 0x80) return {classes[lead], at + 1};
  if (lead < 0xE0) return {classes[(lead & 0x1FU) << 6U | tail(1)], at + 2};
  if (lead < 0xF0) return {classes[(lead & 0xFU) << 12U | tail(1) << 6U | tail(2)], at + 3};
  const auto symbol = (lead & 7U) << 18U | tail(1) << 12U | tail(2) << 6U | tail(3);
  return {symbol < kBeyondClasses ? classes[symbol] : SplitClass::other, at + 4};
}

/// Bytes of 's 't 're 've 'm 'll 'd at `at`, which is an apostrophe; 0 where there is none of them.
std::size_t contraction(const char* at, const char* end) {
  const auto left = end - at;
  if (left < 2) return 0;
  const char first = at[1];
  if (first == 's' || first == 't' || first == 'm' || first == 'd') return 2;
  if (left < 3) return 0;
  const char second = at[2];
  const bool is_one = (first == 'r' && second == 'e') || (first == 'v' && second == 'e') ||
                      (first == 'l' && second == 'l');
  return is_one ? 3 : 0;
}

}  // namespace

SplitClass split_class(char32_t symbol) {
  return symbol < kBeyondClasses ? split_classes()[symbol] : SplitClass::other;
}

ChunkReader::ChunkReader(std::string_view utf8)
    : at_(utf8.data()), end_(utf8.data() + utf8.size()), classes_(split_classes()) {}

std::string_view ChunkReader::next() {
  const auto* begin = at_;
  const auto take = [&](const char* end) {
    at_ = end;
    return std::string_view(begin, static_cast<std::size_t>(end - begin));
  };
  if (*begin == '\'')
    if (const auto length = contraction(begin, end_); length > 0) return take(begin + length);
  auto [kind, at] = see(classes_, begin);
  if (*begin == ' ' && at != end_) {  // a single space belongs to what follows it
    const auto second = see(classes_, at);
    if (second.kind != SplitClass::space) {
      kind = second.kind;
      at = second.next;
    }
  }
  const auto* last = begin;  // the beginning of the run's last symbol
  while (at != end_) {
    const auto seen = see(classes_, at);
    if (seen.kind != kind) break;
    last = at;
    at = seen.next;
  }
  // White space before something else leaves its last symbol to it.
  if (kind == SplitClass::space && at != end_ && last != begin) return take(last);
  return take(at);
}

std::size_t find_cut(std::string_view utf8, std::size_t from) {
  const auto* classes = split_classes();
  const auto* end = utf8.data() + utf8.size();
  const auto is_tail = [](char c) { return (static_cast<unsigned char>(c) & 0xC0U) == 0x80U; };
  while (from < utf8.size() && is_tail(utf8[from])) ++from;
  if (from >= utf8.size()) return utf8.size();
  auto [kind, at] = see(classes, utf8.data() + from);
  while (at != end) {
    const auto seen = see(classes, at);
    // An apostrophe may take letters behind it, white space what comes after; nothing else mixes.
    const bool ends = kind == SplitClass::letter || kind == SplitClass::number
                          ? seen.kind != kind
                          : kind == SplitClass::other && seen.kind == SplitClass::space;
    if (ends) break;
    kind = seen.kind;
    at = seen.next;
  }
  return static_cast<std::size_t>(at - utf8.data());
}

std::vector<std::string_view> cut_into_pieces(std::string_view utf8, std::size_t bytes) {
  std::vector<std::string_view> pieces;
  while (!utf8.empty()) {
    const auto cut = find_cut(utf8, bytes);
    pieces.push_back(utf8.substr(0, cut));
    utf8.remove_prefix(cut);
  }
  return pieces;
}

}  // namespace moe
