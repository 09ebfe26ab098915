#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <map>
#include <string>
#include <vector>

#include "moe/base/error.h"
#include "moe/base/text.h"
#include "moe/data/bpe_tokenizer.h"
#include "tests/base/scratch.h"
#include "tests/data/bpe_golden.h"

namespace moe {
namespace {

using test::message_of;
using test::rank_lines;
using testing::AllOf;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::StartsWith;
using Ids = std::vector<std::int32_t>;

std::vector<std::string> bytes_and(const std::vector<std::string>& more) {
  std::vector<std::string> tokens;
  for (int byte = 0; byte < 256; ++byte) tokens.emplace_back(1, static_cast<char>(byte));
  tokens.insert(tokens.end(), more.begin(), more.end());
  return tokens;
}

BpeTokenizer read_ranks(const std::string& text) {
  return BpeTokenizer::from_tiktoken(text, "r.tiktoken", ErrorKind::data);
}

TEST(Tiktoken, RanksAreIdsAndTheSpecialTokenFollowsThem) {
  const auto tokenizer = read_ranks(rank_lines(bytes_and({"he", "ll", "hell"})));
  EXPECT_EQ(tokenizer.vocab_size(), 260);
  EXPECT_THAT(tokenizer.vocabulary().specials, ElementsAre(259));
  EXPECT_THAT(tokenizer.encode("hell he", "text"), ElementsAre(258, ' ', 256));
  EXPECT_EQ(tokenizer.decode(Ids{258, 259}), "hell<|endoftext|>");
}

TEST(Tiktoken, EveryPairWhoseBytesAreATokenIsMerged) {
  const auto tokenizer = read_ranks(rank_lines(bytes_and({"ab", "bc", "abc"})));
  EXPECT_THAT(tokenizer.vocabulary().merges,
              ElementsAre(BpeMerge{'a', 'b', 256}, BpeMerge{'b', 'c', 257}, BpeMerge{'a', 257, 258},
                          BpeMerge{256, 'c', 258}));
}

TEST(Tiktoken, AChunkThatIsATokenIsTakenWholeThoughNoMergeMakesIt) {
  const auto tokenizer = read_ranks(rank_lines(bytes_and({" xyz"})));
  EXPECT_THAT(tokenizer.encode("xyz xyz", "text"), ElementsAre('x', 'y', 'z', 256));
}

TEST(Tiktoken, ATrainedVocabularyEncodesTheSameFromItsRanks) {
  const auto& row = test::bpe_case("all");
  const auto trained = test::trained_on(row);
  const auto text = row.at("text").get<std::string>();
  auto tokens = trained.vocabulary().tokens;
  tokens.erase(tokens.begin());  // <|endoftext|>: all ids are one less
  auto ids = trained.encode(text, "text");
  for (auto& id : ids) --id;
  EXPECT_EQ(read_ranks(rank_lines(tokens)).encode(text, "text"), ids);
}

TEST(Tiktoken, EmptyLinesAndCarriageReturnsAreNoHarm) {
  const auto lines = rank_lines(bytes_and({"ab"}));
  std::string folded = "\r\n";
  for (const char c : lines) folded += c == '\n' ? "\r\n\n" : std::string(1, c);
  EXPECT_EQ(read_ranks(folded).vocabulary(), read_ranks(lines).vocabulary());
  EXPECT_EQ(read_ranks(lines.substr(0, lines.size() - 1)).vocabulary(),
            read_ranks(lines).vocabulary());
}

struct HostileRanks {
  const char* name;
  const char* line;  // behind 256 lines of bytes
  const char* says;
};
class HostileTiktoken : public testing::TestWithParam<HostileRanks> {};

TEST_P(HostileTiktoken, IsRefusedWithItsLine) {
  const auto text = rank_lines(bytes_and({})) + GetParam().line;
  EXPECT_THAT(message_of<DataError>([&] { read_ranks(text); }),
              AllOf(StartsWith("r.tiktoken: "), HasSubstr(GetParam().says),
                    HasSubstr("; a tiktoken file has lines of base64 and a rank")));
}

INSTANTIATE_TEST_SUITE_P(
    Tiktoken, HostileTiktoken,
    testing::Values(HostileRanks{"no_rank", "YWI=", "line 257: \"YWI=\" is not base64 and a rank"},
                    HostileRanks{"no_token", " 256", "line 257: \"\" is not base64"},
                    HostileRanks{"no_digits", "YWI= ", "\"\" is not a rank"},
                    HostileRanks{"letters", "YWI= x", "\"x\" is not a rank"},
                    HostileRanks{"digits_and_letters", "YWI= 256x", "\"256x\" is not a rank"},
                    HostileRanks{"negative", "YWI= -1", "\"-1\" is not a rank"},
                    HostileRanks{"plus", "YWI= +256", "is not a rank"},
                    HostileRanks{"fraction", "YWI= 256.0", "is not a rank"},
                    HostileRanks{"hexadecimal", "YWI= 0x100", "is not a rank"},
                    HostileRanks{"huge", "YWI= 99999999999999999999", "is not a rank"},
                    HostileRanks{"of_32_bits", "YWI= 4294967295", "is not a rank"},
                    HostileRanks{"gap", "YWI= 257",
                                 "rank 257, but there are only 257 tokens: ranks have gaps"},
                    HostileRanks{"far_gap", "YWI= 2147483647", "ranks have gaps"},
                    HostileRanks{"rank_twice", "YWI= 255", "line 257: rank 255 stands there twice"},
                    HostileRanks{"token_twice", "YQ== 256", "token 256 (\"a\") stands there twice"},
                    HostileRanks{"three_fields", "YWI= 256 7", "\"256 7\" is not a rank"},
                    HostileRanks{"two_spaces", "YWI=  256", "\" 256\" is not a rank"},
                    HostileRanks{"tab", "YWI=\t256", "is not base64 and a rank"},
                    HostileRanks{"no_padding", "YWI 256", "\"YWI\" is not base64"},
                    HostileRanks{"padding_alone", "==== 256", "is not base64"},
                    HostileRanks{"padding_within", "YQ==YWI= 256", "is not base64"},
                    HostileRanks{"bits_left_over", "YWJ= 256", "\"YWJ=\" is not base64"},
                    HostileRanks{"other_alphabet", "YW-_ 256", "is not base64"},
                    HostileRanks{"raw_bytes", "\xFF\xFE 256", "is not base64"},
                    HostileRanks{"json", "{\"model\": 1}", "is not base64"},
                    HostileRanks{"the_special", "PHxlbmRvZnRleHR8Pg== 256",
                                 "(\"<|endoftext|>\") stands there twice"}),
    [](const auto& given) { return std::string(given.param.name); });

TEST(Tiktoken, WithoutAllBytesTheFileIsRefused) {
  EXPECT_THAT(message_of<DataError>([] { read_ranks(""); }), HasSubstr("the byte 0 has no token"));
  auto tokens = bytes_and({});
  tokens[65] = "AA";
  EXPECT_THAT(message_of<DataError>([&] { read_ranks(rank_lines(tokens)); }),
              HasSubstr("the byte 65 has no token"));
}

TEST(Tiktoken, ATokenThatWouldTakeHoursIsRefused) {
  EXPECT_EQ(read_ranks(rank_lines(bytes_and({std::string(512, 'a')}))).vocab_size(), 258);
  EXPECT_THAT(
      message_of<DataError>([] { read_ranks(rank_lines(bytes_and({std::string(513, 'a')}))); }),
      HasSubstr("line 257: a token of 513 bytes, more than 512"));
}

TEST(Tiktoken, TheErrorIsOfTheCallersKind) {
  EXPECT_THROW(BpeTokenizer::from_tiktoken("x", "r", ErrorKind::checkpoint), CheckpointError);
}

}  // namespace
}  // namespace moe
