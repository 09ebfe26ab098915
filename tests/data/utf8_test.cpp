#include "moe/data/utf8.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <array>
#include <string>
#include <vector>

namespace moe {
namespace {

using testing::ElementsAre;
using testing::IsEmpty;

using Range = std::array<int, 2>;
/// Unicode 15, table 3-7, row by row: what each byte of a sequence may be.
const std::vector<std::vector<Range>> kTable{
    {{0x00, 0x7F}},
    {{0xC2, 0xDF}, {0x80, 0xBF}},
    {{0xE0, 0xE0}, {0xA0, 0xBF}, {0x80, 0xBF}},
    {{0xE1, 0xEC}, {0x80, 0xBF}, {0x80, 0xBF}},
    {{0xED, 0xED}, {0x80, 0x9F}, {0x80, 0xBF}},
    {{0xEE, 0xEF}, {0x80, 0xBF}, {0x80, 0xBF}},
    {{0xF0, 0xF0}, {0x90, 0xBF}, {0x80, 0xBF}, {0x80, 0xBF}},
    {{0xF1, 0xF3}, {0x80, 0xBF}, {0x80, 0xBF}, {0x80, 0xBF}},
    {{0xF4, 0xF4}, {0x80, 0x8F}, {0x80, 0xBF}, {0x80, 0xBF}}};

/// Bytes of the well-formed sequence at the front of `text`; 0 when there is none.
std::size_t sequence_at_front(std::string_view text) {
  for (const auto& row : kTable) {
    bool fits = text.size() >= row.size();
    for (std::size_t i = 0; fits && i < row.size(); ++i) {
      const auto byte = static_cast<unsigned char>(text[i]);
      fits = byte >= row[i][0] && byte <= row[i][1];
    }
    if (fits) return row.size();
  }
  return 0;
}

std::optional<std::size_t> invalid_by_the_table(std::string_view text) {
  for (std::size_t at = 0; at < text.size();) {
    const auto length = sequence_at_front(text.substr(at));
    if (length == 0) return at;
    at += length;
  }
  return std::nullopt;
}

/// Each byte at which a rule of the table begins or ends, and its neighbours.
constexpr std::array kTails{0x00, 0x7F, 0x80, 0x8F, 0x90, 0x9F, 0xA0, 0xBF, 0xC0, 0xFF};

TEST(Utf8, AnInvalidByteIsFoundWhereverItStandsInAscii) {
  for (std::size_t before = 0; before < 40; ++before)
    for (std::size_t after = 0; after < 20; ++after) {
      const auto text = std::string(before, 'a') + "\x80" + std::string(after, 'b');
      EXPECT_EQ(find_invalid_utf8(text), before);
    }
}

TEST(Utf8, EachSequenceIsJudgedAsTheTableSays) {
  for (int lead = 0; lead < 256; ++lead) {
    for (const int second : kTails) {
      for (const int third : kTails) {
        for (const int fourth : kTails) {
          std::string text;
          for (const int byte : {lead, second, third, fourth}) text += static_cast<char>(byte);
          for (std::size_t length = 1; length <= text.size(); ++length) {
            const auto part = std::string_view(text).substr(0, length);
            ASSERT_EQ(find_invalid_utf8(part), invalid_by_the_table(part))
                << std::hex << lead << " " << second << " " << third << " " << fourth << ", "
                << length << " bytes";
          }
        }
      }
    }
  }
}

TEST(Utf8, EachScalarValueIsWellFormedAndReadsBack) {
  std::vector<char32_t> symbols;
  for (char32_t symbol = 0; symbol <= 0x10FFFF; ++symbol)
    if (symbol < 0xD800 || symbol > 0xDFFF) symbols.push_back(symbol);
  std::string text;
  for (const auto symbol : symbols) append_utf8(text, symbol);
  ASSERT_EQ(find_invalid_utf8(text), std::nullopt);
  ASSERT_TRUE(decode_utf8(text) == symbols) << "no difference is printed: a million symbols";
}

TEST(Utf8, TheBytesOfASymbolAreTheStandards) {
  const auto bytes = [](char32_t symbol) {
    std::string out = "<";
    append_utf8(out, symbol);
    return out;
  };
  EXPECT_EQ(bytes(0x7F), "<\x7F");
  EXPECT_EQ(bytes(0x80), "<\xC2\x80");
  EXPECT_EQ(bytes(0x7FF), "<\xDF\xBF");
  EXPECT_EQ(bytes(0x800), "<\xE0\xA0\x80");
  EXPECT_EQ(bytes(0xFFFF), "<\xEF\xBF\xBF");
  EXPECT_EQ(bytes(0x10000), "<\xF0\x90\x80\x80");
  EXPECT_EQ(bytes(0x10FFFF), "<\xF4\x8F\xBF\xBF");
  EXPECT_EQ(bytes(0), std::string("<\0", 2));
}

TEST(Utf8, DecodesMixedText) {
  EXPECT_THAT(decode_utf8("a\u00e9\u6f22\U0001F600\n"),
              ElementsAre(U'a', U'\u00e9', U'\u6f22', U'\U0001F600', U'\n'));
  EXPECT_THAT(decode_utf8(""), IsEmpty());
  EXPECT_EQ(find_invalid_utf8(""), std::nullopt);
}

struct IllFormed {
  const char* name;
  const char* bytes;
};
class IllFormedUtf8 : public testing::TestWithParam<IllFormed> {};

TEST_P(IllFormedUtf8, IsFoundAtItsFirstByteWhateverStandsBeforeAndAfter) {
  for (const std::string before : {"", "a", "\u00e9", "ab\u6f22", "\U0001F600"}) {
    for (const std::string after : {"", "z", "\u6f22"})
      EXPECT_EQ(find_invalid_utf8(before + GetParam().bytes + after), before.size())
          << before << "|" << after;
  }
}

INSTANTIATE_TEST_SUITE_P(
    Utf8, IllFormedUtf8,
    testing::Values(
        IllFormed{"overlong_slash", "\xC0\xAF"}, IllFormed{"overlong_del", "\xC1\xBF"},
        IllFormed{"overlong_of_three", "\xE0\x9F\xBF"},
        IllFormed{"overlong_of_four", "\xF0\x8F\xBF\xBF"},
        IllFormed{"first_surrogate", "\xED\xA0\x80"}, IllFormed{"last_surrogate", "\xED\xBF\xBF"},
        IllFormed{"surrogate_pair", "\xED\xA0\xBD\xED\xB8\x80"},
        IllFormed{"beyond_10ffff", "\xF4\x90\x80\x80"}, IllFormed{"lead_f5", "\xF5\x80\x80\x80"},
        IllFormed{"five_bytes", "\xF8\x88\x80\x80\x80"}, IllFormed{"lone_continuation", "\x80"},
        IllFormed{"last_continuation", "\xBF"}, IllFormed{"cut_of_two", "\xC3"},
        IllFormed{"cut_of_three", "\xE6\xBC"}, IllFormed{"cut_of_four", "\xF0\x9F\x98"},
        IllFormed{"fe", "\xFE"}, IllFormed{"ff", "\xFF"}, IllFormed{"latin_1", "\xE9t"}),
    [](const auto& given) { return std::string(given.param.name); });

}  // namespace
}  // namespace moe
