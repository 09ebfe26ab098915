#include "moe/data/token_file.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <chrono>
#include <fstream>
#include <functional>
#include <string>
#include <vector>

#include "data/token_header.h"
#include "moe/base/file.h"
#include "moe/base/text.h"
#include "tests/base/on_disk.h"
#include "tests/base/scratch.h"
#include "tests/data/count_to.h"

namespace moe {
namespace {

using test::bytes_in;
using test::count_to;
using test::listing;
using test::message_of;
using test::Scratch;
using testing::ElementsAre;
using testing::ElementsAreArray;
using testing::HasSubstr;
using testing::IsEmpty;

const std::string kSum(64, 'a');

/// A token file of the ids 0, 1, ..., n - 1 from the text "t.txt".
class TokenFiles : public testing::Test {
 protected:
  TokenFiles() { std::ofstream(scratch / "t.txt") << "some text"; }
  TokenFileInfo write(const Tokens& ids, std::int64_t vocab_size) {
    const std::vector<fs::path> sources{scratch / "t.txt"};
    TokenFileWriter writer(path, sources, vocab_size, files);
    writer.append(TokenFileWriter::encoded(ids, id_width(vocab_size)));
    return writer.finish(
        kSum, {{sources[0].string(), 9, sha256_hex("some text"), kSum, settled_stamp(sources[0])}});
  }
  std::string refusal() {
    return message_of<DataError>([&] { TokenFile::open(path); });
  }
  void put(const std::string& bytes) { std::ofstream(path, std::ios::binary) << bytes; }

  Scratch scratch;
  const fs::path path = scratch / "t.tokens";
  FileLayer files;
};

TEST_F(TokenFiles, HoldWhatWasWrittenInShortOrLongIds) {
  for (const std::int64_t vocab : {65'536, 65'537}) {
    const auto info = write({0, 65'535, 7}, vocab);
    const auto file = TokenFile::open(path);
    EXPECT_EQ(file.info(), info);
    EXPECT_EQ(file.info(), TokenFile::read_header(path));
    EXPECT_THAT(file.tokens().copy(), ElementsAre(0, 65'535, 7));
    EXPECT_EQ(fs::file_size(path), kTokenHeaderUnit + 3 * id_width(vocab));
  }
  EXPECT_EQ(id_width(65'536), 2U);
  EXPECT_EQ(id_width(65'537), 4U);
}

TEST_F(TokenFiles, TheIdsLieBehindTheHeaderForAnyReader) {
  write(count_to(300), 1000);
  const auto bytes = bytes_in(path);
  EXPECT_EQ(bytes.substr(0, 8), "MOETOKEN");
  EXPECT_EQ(bytes.substr(4096 + 2 * 258, 2), "\x02\x01");
}

TEST_F(TokenFiles, StayMappedWhenTheFileIsWrittenAnew) {
  write(count_to(3), 10);
  const auto file = TokenFile::open(path);
  write({9, 9, 9, 9}, 10);
  EXPECT_THAT(file.tokens().copy(), ElementsAre(0, 1, 2));
}

TEST_F(TokenFiles, CopiesShareTheMapping) {
  write(count_to(3), 10);
  TokenView view;
  TokenFile copy = TokenFile::open(path);
  {
    const auto other = copy;
    view = other.tokens();
  }
  EXPECT_THAT(view.copy(), ElementsAre(0, 1, 2));
}

TEST_F(TokenFiles, OfEachLengthButTheRightOneAreRefused) {
  write(count_to(5), 10);
  const auto whole = bytes_in(path);
  for (std::size_t size = 0; size < whole.size(); size += size < 100 || size > 4000 ? 1 : 97) {
    put(whole.substr(0, size));
    EXPECT_THAT(refusal(), HasSubstr("make it anew")) << size;
  }
  put(whole + "x");
  EXPECT_THAT(refusal(), HasSubstr("which are not its header and its 5 ids"));
}

TEST_F(TokenFiles, WithAnyByteChangedAreRefused) {
  write(count_to(5), 10);
  const auto whole = bytes_in(path);
  for (std::size_t at = 0; at < whole.size(); at += at < 500 || at > 4050 ? 1 : 61)
    for (const char flip : {'\x01', '\x80'}) {
      auto bytes = whole;
      bytes[at] = static_cast<char>(bytes[at] ^ flip);
      put(bytes);
      EXPECT_NE(refusal(), "") << at;
    }
  put(whole);
  EXPECT_EQ(refusal(), "");
}

TEST_F(TokenFiles, ThatWereNeverFinishedAreNothing) {
  put(std::string(8192, '\0'));
  EXPECT_THAT(refusal(), HasSubstr("is no token file, or was never finished"));
  {
    const std::vector<fs::path> sources{scratch / "t.txt"};
    TokenFileWriter writer(scratch / "other", sources, 10, files);
    writer.append("12");
  }
  EXPECT_THAT(listing(scratch.path()), ElementsAre("t.tokens", "t.txt"));
}

TEST_F(TokenFiles, AnIdBeyondTheVocabularyIsRefused) {
  write({1, 10, 2}, 10);
  EXPECT_THAT(refusal(), HasSubstr("holds the id 10 beyond its vocabulary of 10"));
  write({1, -1, 2}, 70'000);
  EXPECT_THAT(refusal(), HasSubstr("holds the id 4294967295 beyond"));
}

TEST_F(TokenFiles, WithoutIdsAreFiles) {
  write({}, 10);
  EXPECT_TRUE(TokenFile::open(path).tokens().empty());
}

struct HostileHeader {
  const char* name;
  std::size_t at;
  const char* bytes;
  std::size_t size;
  const char* says;
};
class HostileTokenHeader : public TokenFiles, public testing::WithParamInterface<HostileHeader> {};

TEST_P(HostileTokenHeader, IsRefusedBeforeAnythingOfItsSizesIsMade) {
  write(count_to(5), 10);
  const auto& given = GetParam();
  put(bytes_in(path).replace(given.at, given.size, given.bytes, given.size));
  EXPECT_THAT(refusal(), HasSubstr(given.says));
}

constexpr const char* kHuge = "\xff\xff\xff\xff\xff\xff\xff\xff";
INSTANTIATE_TEST_SUITE_P(
    TokenFiles, HostileTokenHeader,
    testing::Values(HostileHeader{"magic", 0, "moetoken", 8, "is no token file"},
                    HostileHeader{"version_0", 8, "\0\0\0\0", 4, "of version 0"},
                    HostileHeader{"version_2", 8, "\2\0\0\0", 4, "of version 2"},
                    HostileHeader{"width_0", 12, "\0\0\0\0", 4, "sizes do not fit"},
                    HostileHeader{"width_3", 12, "\3\0\0\0", 4, "sizes do not fit"},
                    HostileHeader{"width_4", 12, "\4\0\0\0", 4, "which are not its header"},
                    HostileHeader{"count_huge", 16, kHuge, 8, "which are not its header"},
                    HostileHeader{"header_0", 24, "\0\0\0\0\0\0\0\0", 8, "sizes do not fit"},
                    HostileHeader{"header_huge", 24, kHuge, 8, "sizes do not fit"},
                    HostileHeader{"header_2_63", 24, "\0\0\0\0\0\0\0\x80", 8, "sizes do not fit"},
                    HostileHeader{"header_odd", 24, "\1\x10\0\0\0\0\0\0", 8, "sizes do not fit"},
                    HostileHeader{"header_long", 24, "\0\x20\0\0\0\0\0\0", 8, "which are not its"},
                    HostileHeader{"json_huge", 32, kHuge, 8, "sizes do not fit"},
                    HostileHeader{"json_longer", 32, "\xb9\x0f\0\0\0\0\0\0", 8, "sizes do not fit"},
                    HostileHeader{"json_all", 32, "\xb8\x0f\0\0\0\0\0\0", 8,
                                  "its checksum differs"},
                    HostileHeader{"sum", 40, "x", 1, "its checksum differs"},
                    HostileHeader{"end", 4095, "x", 1, "its checksum differs"}),
    [](const auto& given) { return std::string(given.param.name); });

/// A header whose checksum is right, with some JSON in it.
std::string signed_header(std::string json, std::int64_t vocab_size = 10) {
  TokenFileInfo info{kSum, vocab_size, 0, kSum, {}};
  auto header = token_header(info, kTokenHeaderUnit);
  header.replace(72, header.size() - 72, json + std::string(header.size() - 72 - json.size(), ' '));
  header[32] = static_cast<char>(json.size() & 0xFFU);
  header[33] = static_cast<char>(json.size() >> 8U);
  const auto hex = Sha256().update(header.substr(0, 40)).update(header.substr(72)).hex();
  for (std::size_t i = 0; i < 32; ++i)
    header[40 + i] = static_cast<char>(std::stoi(hex.substr(2 * i, 2), nullptr, 16));
  return header;
}

TEST_F(TokenFiles, AHeaderThatIsSignedAndWrongIsRefused) {
  const auto sum = cat('"', kSum, '"');
  const auto with = [&](const std::string& sources, const std::string& vocab = "10") {
    return cat(R"({"tokenizer":)", sum, R"(,"vocab_size":)", vocab, R"(,"data_sha256":)", sum,
               R"(,"sources":)", sources, "}");
  };
  const auto source = [&](const std::string& bytes, const std::string& stamp) {
    return with(cat(R"([{"path":"p","bytes":)", bytes, R"(,"sha256":)", sum, R"(,"text_sha256":)",
                    sum, R"(,"stamp":)", stamp, "}]"));
  };
  const std::vector<std::pair<std::string, std::string>> cases{
      {"", "header"},
      {"[]", "\"tokenizer\" is missing"},
      {"null", "\"tokenizer\" is missing"},
      {"{}", "\"tokenizer\" is missing"},
      {R"({"tokenizer":1})", "\"tokenizer\" is 1"},
      {R"({"tokenizer":"abc"})", "is no sha256"},
      {with("{}"), "\"sources\" is no list"},
      {with("[1]"), "\"path\" is missing"},
      {with("[]", "-1"), "\"vocab_size\" is -1"},
      {with("[]", "1e3"), "\"vocab_size\" is 1000.0"},
      {with("[]", "99999999999"), "\"vocab_size\" is 99999999999"},
      {with("[]", "70000"), "ids of 2 bytes for 70000 tokens"},
      {source("-5", "[1,2,3,4,5]"), "\"bytes\" is -5"},
      {source("18446744073709551615", "[1,2,3,4,5]"), "\"bytes\" is"},
      {source("5", "[1,2,3,4]"), "no list of five"},
      {source("5", "[1,2,3,4,\"5\"]"), "no list of five"},
      {source("5", "7"), "no list of five"},
      {"[[[[[[[[]]]]]]]]", "header"},
      {with("[]") + "x", "header"},
  };
  for (const auto& [json, says] : cases) {
    put(signed_header(json));
    EXPECT_THAT(refusal(), HasSubstr(says)) << json;
  }
  put(signed_header(source("5", "[1,2,3,4,5]")));
  EXPECT_THAT(refusal(), HasSubstr("ids are damaged")) << "all but their sum is right";
}

TEST_F(TokenFiles, ManySourcesNeedALongerHeader) {
  std::vector<fs::path> sources;
  std::vector<TokenSource> facts;
  for (int i = 0; i < 1000; ++i) {
    sources.emplace_back(cat("some/folder/", i, "\n\".txt"));
    facts.push_back({sources.back().string(), 5, kSum, kSum, {}});
  }
  TokenFileWriter writer(path, sources, 10, files);
  const auto info = writer.finish(kSum, facts);
  EXPECT_EQ(TokenFile::open(path).info().sources, facts);
  EXPECT_EQ(fs::file_size(path) % kTokenHeaderUnit, 0U);
}

TEST_F(TokenFiles, SumsOfSeveralSourcesAreJoined) {
  const std::string b(64, 'b');
  const TokenFileInfo info{kSum, 10, 0, kSum, {{"p", 1, kSum, b, {}}, {"q", 1, b, b, {}}}};
  EXPECT_EQ(info.files_sum(), joined_sums(std::vector{kSum, b}));
  EXPECT_EQ(info.texts_sum(), joined_sums(std::vector{b, b}));
}

TEST_F(TokenFiles, KnowWhetherTheyAreOfTheseTexts) {
  const auto info = write(count_to(3), 10);
  const std::vector<fs::path> same{scratch / "t.txt"};
  EXPECT_EQ(outdated(info, kSum, same), "");
  EXPECT_THAT(outdated(info, std::string(64, 'b'), same), HasSubstr("another tokenizer"));
  EXPECT_THAT(outdated(info, kSum, {}), HasSubstr("from 1 files, not 0"));
  std::ofstream(scratch / "moved.txt") << "some text";
  EXPECT_EQ(outdated(info, kSum, std::vector{scratch / "moved.txt"}), "") << "names do not count";
  std::ofstream(scratch / "t.txt") << "some tex_";
  EXPECT_THAT(outdated(info, kSum, same), HasSubstr("t.txt has changed"));
  std::ofstream(scratch / "t.txt") << "longer text than it was";
  EXPECT_THAT(outdated(info, kSum, same), HasSubstr("t.txt has changed"));
}

// Within a tick of the clock a second change would bear the same time: then nothing but the sum
// counts.
TEST_F(TokenFiles, AStampOfAFileThatWasJustWrittenIsNotTrusted) {
  EXPECT_EQ(settled_stamp(scratch / "t.txt"), FileStamp{});
  const auto own = fs::path("/proc/self/exe");
  EXPECT_EQ(settled_stamp(own), stamp_of(own)) << "this test was built more than two seconds ago";
}

// A stamp that is right spares the reading; that it does is what this shows.
TEST_F(TokenFiles, ASourceWithTheStampThatItHadIsNotReadAgain) {
  auto info = write(count_to(3), 10);
  const std::vector<fs::path> same{scratch / "t.txt"};
  info.sources[0].stamp = stamp_of(scratch / "t.txt");
  info.sources[0].sha256 = kSum;
  EXPECT_EQ(outdated(info, kSum, same), "");
  info.sources[0].stamp.changed_ns += 1;
  EXPECT_THAT(outdated(info, kSum, same), HasSubstr("has changed"));
}

TEST_F(TokenFiles, TokenizersThatDifferHaveOtherSums) {
  const auto a = CharTokenizer::from_text("abc"), b = CharTokenizer::from_text("abd");
  EXPECT_EQ(tokenizer_sum(a), tokenizer_sum(CharTokenizer::from_text("cba")));
  EXPECT_NE(tokenizer_sum(a), tokenizer_sum(b));
}

/// Writes with a fault at operation 1, 2, ... until none strikes; `check` sees what is there then.
TEST_F(TokenFiles, AFaultAtAnyOperationLeavesTheOldFileOrTheNewOne) {
  write(count_to(3), 10);
  const auto old = bytes_in(path);
  for (const char* kind : {"ENOSPC@", "short@", "EIO@"})
    for (int n = 1;; ++n) {
      put(old);
      files = FileLayer(FaultPlan::parse(cat(kind, n)), [](const std::string&) {});
      const auto failure = message_of<ResourceError>([&] { write({7, 7, 7, 7}, 10); });
      const auto file = TokenFile::open(path);
      EXPECT_THAT(listing(scratch.path()), ElementsAre("t.tokens", "t.txt"));
      if (failure.empty()) {
        EXPECT_EQ(file.tokens().size(), 4U);
        EXPECT_GE(n, 7) << "creating, three writes, fsync, renaming, fsync";
        break;
      }
      ASSERT_LT(n, 30);
    }
}

TEST_F(TokenFiles, KilledAtAnyOperationLeaveTheOldFileOrTheNewOneAndTheNextWriteTidies) {
  for (int n = 1;; ++n) {
    write(count_to(3), 10);
    const auto status = test::status_of_child([&] {
      files = FileLayer(FaultPlan::parse(cat("crash@", n)));
      write({7, 7, 7, 7}, 10);
      return 0;
    });
    const auto size = TokenFile::open(path).tokens().size();
    EXPECT_TRUE(size == 3 || size == 4);
    if (WIFEXITED(status)) {
      EXPECT_EQ(size, 4U);
      break;
    }
    write(count_to(3), 10);
    EXPECT_THAT(listing(scratch.path()), ElementsAre("t.tokens", "t.txt")) << n;
    ASSERT_LT(n, 30);
  }
}

}  // namespace
}  // namespace moe
