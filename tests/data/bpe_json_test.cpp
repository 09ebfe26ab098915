#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>
#include <string_view>
#include <vector>

#include "moe/base/error.h"
#include "moe/base/text.h"
#include "moe/data/bpe_tokenizer.h"
#include "tests/base/scratch.h"
#include "tests/data/bpe_golden.h"

namespace moe {
namespace {

using test::bpe_golden;
using test::message_of;
using test::trained_on;
using testing::AllOf;
using testing::EndsWith;
using testing::HasSubstr;
using testing::StartsWith;

/// The bytes, <|endoftext|>, "he", "ll", "hell".
BpeTokenizer small() {
  auto vocabulary = test::train("", 257);
  const auto id = [&](std::string_view bytes) {
    return static_cast<std::int32_t>(std::ranges::find(vocabulary.tokens, bytes) -
                                     vocabulary.tokens.begin());
  };
  for (const auto& [left, right] : {std::pair("h", "e"), {"l", "l"}, {"he", "ll"}}) {
    vocabulary.tokens.push_back(std::string(left) + right);
    vocabulary.merges.push_back(
        {id(left), id(right), static_cast<std::int32_t>(vocabulary.tokens.size()) - 1});
  }
  return BpeTokenizer(std::move(vocabulary));
}

BpeVocabulary read_file_text(const std::string& text) {
  return BpeTokenizer::from_json(parse_json(text, "t", ErrorKind::data, kTokenizerLimits), "t",
                                 ErrorKind::data)
      .vocabulary();
}

TEST(BpeJson, TheFileIsHuggingFacesToTheByte) {
  for (const auto& row : bpe_golden().at("trained"))
    EXPECT_EQ(sha256_hex(json_text(trained_on(row).to_json(), 2)), row.at("file_sha256"))
        << row.at("name");
}

TEST(BpeJson, WhatWasWrittenReadsBackTheSame) {
  for (const auto& row : bpe_golden().at("trained")) {
    const auto tokenizer = trained_on(row);
    EXPECT_EQ(read_file_text(json_text(tokenizer.to_json())), tokenizer.vocabulary());
  }
  auto vocabulary = small().vocabulary();
  vocabulary.whole_chunks = true;
  EXPECT_EQ(read_file_text(json_text(BpeTokenizer(vocabulary).to_json())), vocabulary);
}

/// `patch` as RFC 6902 has it, applied to the file of small().
Json patched(std::string_view patch) {
  return small().to_json().patch(parse_json(patch, "patch", ErrorKind::data));
}

struct Accepted {
  const char* name;
  const char* patch;
};
class OthersFiles : public testing::TestWithParam<Accepted> {};

TEST_P(OthersFiles, AreReadWhereTheyMeanTheSame) {
  const auto tokenizer = BpeTokenizer::from_json(patched(GetParam().patch), "t", ErrorKind::data);
  EXPECT_EQ(tokenizer.vocabulary(), small().vocabulary());
}

INSTANTIATE_TEST_SUITE_P(
    BpeJson, OthersFiles,
    testing::Values(Accepted{"as_it_is", "[]"},
                    Accepted{"merges_as_texts", R"([{"op": "replace", "path": "/model/merges",
                                         "value": ["h e", "l l", "he ll"]}])"},
                    Accepted{"merges_of_both_forms", R"([{"op": "replace", "path": "/model/merges",
                                              "value": ["h e", ["l", "l"], "he ll"]}])"},
                    Accepted{"gpt2s_model", R"([{"op": "remove", "path": "/model/type"},
            {"op": "replace", "path": "/model/continuing_subword_prefix", "value": ""},
            {"op": "replace", "path": "/model/end_of_word_suffix", "value": ""},
            {"op": "remove", "path": "/model/byte_fallback"},
            {"op": "remove", "path": "/model/ignore_merges"},
            {"op": "replace", "path": "/added_tokens/0/normalized", "value": true},
            {"op": "add", "path": "/post_processor", "value": {"type": "ByteLevel",
             "add_prefix_space": true, "trim_offsets": false}}])"},
                    Accepted{"a_template_of_the_text_alone",
                             R"([{"op": "add", "path": "/post_processor", "value": {
            "type": "TemplateProcessing", "single": [{"Sequence": {"id": "A", "type_id": 0}}],
            "pair": [], "special_tokens": {}}}])"},
                    Accepted{"special_not_in_vocab",
                             R"([{"op": "remove", "path": "/model/vocab/<|endoftext|>"}])"},
                    Accepted{"dropout_of_zero",
                             R"([{"op": "replace", "path": "/model/dropout", "value": 0.0}])"},
                    Accepted{"one_step", R"([{"op": "replace", "path": "/pre_tokenizer", "value": {
            "type": "Sequence", "pretokenizers": [{"type": "ByteLevel", "add_prefix_space": false}]}}])"}),
    [](const auto& given) { return std::string(given.param.name); });

struct HostileFile {
  const char* name;
  std::string patch;
  const char* says;
};
class HostileBpe : public testing::TestWithParam<HostileFile> {};

TEST_P(HostileBpe, IsRefusedWithTheKindOfItsReader) {
  const auto json = patched(GetParam().patch);
  for (const auto kind : {ErrorKind::data, ErrorKind::checkpoint}) {
    try {
      BpeTokenizer::from_json(json, "t.json", kind);
      ADD_FAILURE() << "it was taken";
    } catch (const Error& error) {
      EXPECT_EQ(error.kind(), kind);
      EXPECT_THAT(error.what(), AllOf(StartsWith("t.json: "), HasSubstr(GetParam().says)));
      EXPECT_THAT(error.what(), testing::AnyOf(EndsWith("get it anew"), EndsWith("of that kind")));
    }
  }
}

constexpr auto kName = [](const auto& given) { return std::string(given.param.name); };

std::string step(std::string_view op, std::string_view path, std::string_view value) {
  return cat(R"([{"op": ")", op, R"(", "path": ")", path, R"(", "value": )", value, "}]");
}
std::string set(std::string_view path, std::string_view value) {
  return step("replace", path, value);
}
std::string add(std::string_view path, std::string_view value) { return step("add", path, value); }
std::string remove(std::string_view path) { return step("remove", path, "null"); }

INSTANTIATE_TEST_SUITE_P(
    Shape, HostileBpe,
    testing::Values(
        HostileFile{"null", set("", "null"), "has no model"},
        HostileFile{"array", set("", "[]"), "has no model"},
        HostileFile{"number", set("", "7"), "has no model"},
        HostileFile{"empty", set("", "{}"), "has no model"},
        HostileFile{"model_null", set("/model", "null"), "has no model"},
        HostileFile{"model_number", set("/model", "3"), "model is 3, no object"},
        HostileFile{"model_array", set("/model", "[]"), "model is [], no object"},
        HostileFile{"vocab_missing", remove("/model/vocab"), "vocab is missing"},
        HostileFile{"vocab_null", set("/model/vocab", "null"), "vocab is missing"},
        HostileFile{"vocab_array", set("/model/vocab", "[1]"), "vocab is [1], no object"},
        HostileFile{"vocab_empty", set("/model/vocab", "{}"), "merge 0: \"h\" is no token"},
        HostileFile{"merges_missing", remove("/model/merges"), "merges is missing"},
        HostileFile{"merges_null", set("/model/merges", "null"), "merges is missing"},
        HostileFile{"merges_object", set("/model/merges", "{}"), "merges is {}, no array"},
        HostileFile{"merges_text", set("/model/merges", "\"h e\""), "no array"}),
    kName);

INSTANTIATE_TEST_SUITE_P(
    Vocab, HostileBpe,
    testing::Values(
        HostileFile{"id_negative", set("/model/vocab/a", "-1"), "\"a\" has id -1"},
        HostileFile{"id_huge", set("/model/vocab/a", "18446744073709551615"),
                    "18446744073709551615"},
        HostileFile{"id_of_33_bits", set("/model/vocab/a", "4294967296"), "has id 4294967296"},
        HostileFile{"id_of_31_bits", set("/model/vocab/a", "2147483647"), "ids have gaps"},
        HostileFile{"id_fraction", set("/model/vocab/a", "65.0"), "has id 65.0"},
        HostileFile{"id_text", set("/model/vocab/a", "\"65\""), "has id \"65\""},
        HostileFile{"id_true", set("/model/vocab/a", "true"), "has id true"},
        HostileFile{"id_null", set("/model/vocab/a", "null"), "has id null"},
        HostileFile{"id_array", set("/model/vocab/a", "[65]"), "has id [65]"},
        HostileFile{"id_twice", set("/model/vocab/a", "66"), "the id 66 is of \"a\" and of \"b\""},
        HostileFile{"gap", add("/model/vocab/xy", "261"), "but there are only 261 tokens"},
        HostileFile{"no_byte", add("/model/vocab/\u6f22", "260"), "stand for no byte"},
        HostileFile{"space", add("/model/vocab/a b", "260"), "stand for no byte"},
        HostileFile{"empty_token", add("/model/vocab/", "260"), "token 260 is empty"},
        HostileFile{"byte_missing",
                    R"([{"op": "remove", "path": "/model/vocab/!"},
                        {"op": "add", "path": "/model/vocab/!!", "value": 1}])",
                    "the byte 33 has no token"}),
    kName);

INSTANTIATE_TEST_SUITE_P(
    Merges, HostileBpe,
    testing::Values(
        HostileFile{"number", set("/model/merges/0", "1"), "merge 0 is 1, not two"},
        HostileFile{"null", set("/model/merges/0", "null"), "merge 0 is null"},
        HostileFile{"one_token", set("/model/merges/1", "\"ll\""), "merge 1 is \"ll\", not two"},
        HostileFile{"three_tokens", set("/model/merges/0", "\"h e l\""), "not two tokens"},
        HostileFile{"nothing", set("/model/merges/0", "\"\""), "merge 0 is \"\", not two"},
        HostileFile{"empty_half", set("/model/merges/0", "\" he\""), "\"\" is no token"},
        HostileFile{"a_cycle", set("/model/merges/0", R"(["he", ""])"), "\"\" is no token"},
        HostileFile{"pair_of_one", set("/model/merges/0", R"(["h"])"), "not two tokens"},
        HostileFile{"pair_of_three", set("/model/merges/0", R"(["h", "e", "l"])"),
                    "not two tokens"},
        HostileFile{"pair_of_numbers", set("/model/merges/0", "[72, 69]"), "not two tokens"},
        HostileFile{"unknown_left", set("/model/merges/0", R"(["hh", "e"])"), "\"hh\" is no token"},
        HostileFile{"unknown_right", set("/model/merges/0", R"(["h", "ee"])"),
                    "\"ee\" is no token"},
        HostileFile{"unknown_result", set("/model/merges/0", R"(["e", "h"])"),
                    "\"eh\" is no token"},
        HostileFile{"raw_bytes", set("/model/merges/0", R"(["h", "\u6f22"])"), "is no token"},
        HostileFile{"twice", set("/model/merges/1", R"(["h", "e"])"), "merge 1 stands there twice"},
        HostileFile{"of_a_special",
                    R"([{"op": "add", "path": "/model/vocab/h<|endoftext|>", "value": 260},
                        {"op": "add", "path": "/model/merges/0", "value": "h <|endoftext|>"}])",
                    "which is special"},
        HostileFile{"makes_a_special",
                    R"([{"op": "add", "path": "/added_tokens/1", "value":
                         {"id": 257, "content": "he", "special": true}}])",
                    "touches token 257 (\"he\"), which is special"}),
    kName);

INSTANTIATE_TEST_SUITE_P(
    AddedTokens, HostileBpe,
    testing::Values(
        HostileFile{"object", set("/added_tokens", "{}"), "added_tokens is {}, no array"},
        HostileFile{"number", set("/added_tokens", "[1]"), "1 has no content or no id"},
        HostileFile{"no_id", remove("/added_tokens/0/id"), "has no content or no id"},
        HostileFile{"no_content", remove("/added_tokens/0/content"), "has no content or no id"},
        HostileFile{"content_number", set("/added_tokens/0/content", "5"), "no content or no id"},
        HostileFile{"content_empty",
                    R"([{"op": "add", "path": "/added_tokens/1",
                         "value": {"id": 260, "content": "", "special": true}}])",
                    "token 260 is empty"},
        HostileFile{"id_text", set("/added_tokens/0/id", "\"0\""), "has id \"0\""},
        HostileFile{"id_negative", set("/added_tokens/0/id", "-1"), "has id -1"},
        HostileFile{"another_id", set("/added_tokens/0/id", "5"), "has id 5, and 0 in model.vocab"},
        HostileFile{"gap",
                    R"([{"op": "add", "path": "/added_tokens/1",
                         "value": {"id": 270, "content": "<|x|>", "special": true}}])",
                    "ids have gaps"},
        HostileFile{"anothers_id",
                    R"([{"op": "add", "path": "/added_tokens/1",
                         "value": {"id": 7, "content": "<|x|>", "special": true}}])",
                    "the id 7 is of"},
        HostileFile{"ordinary", set("/added_tokens/0/special", "false"), "is not special"},
        HostileFile{"perhaps", remove("/added_tokens/0/special"), "is not special"},
        HostileFile{"special_number", set("/added_tokens/0/special", "1"),
                    "neither true nor false"},
        HostileFile{"lstrip", set("/added_tokens/0/lstrip", "true"), "has lstrip true"},
        HostileFile{"rstrip", set("/added_tokens/0/rstrip", "true"), "has rstrip true"},
        HostileFile{"single_word", set("/added_tokens/0/single_word", "true"), "single_word true"},
        HostileFile{"normalized_text", set("/added_tokens/0/normalized", "\"x\""), "neither true"},
        HostileFile{"a_byte",
                    R"([{"op": "add", "path": "/added_tokens/1",
                         "value": {"id": 65, "content": "a", "special": true}}])",
                    "is special, yet a byte"},
        HostileFile{"bytes_of_another",
                    R"([{"op": "add", "path": "/model/vocab/\u00e6\u00bc\u00a2", "value": 260},
                        {"op": "add", "path": "/added_tokens/1",
                         "value": {"id": 261, "content": "\u6f22", "special": true}}])",
                    "stands there twice"},
        HostileFile{"twice",
                    R"([{"op": "add", "path": "/added_tokens/1",
                         "value": {"id": 0, "content": "<|endoftext|>", "special": true}}])",
                    "stands there twice"}),
    kName);

INSTANTIATE_TEST_SUITE_P(
    NotModelled, HostileBpe,
    testing::Values(
        HostileFile{"nfc", set("/normalizer", R"({"type": "NFC"})"), "normalizer is \"NFC\""},
        HostileFile{"normalizer_text", set("/normalizer", "\"x\""),
                    "normalizer is \"x\", not null"},
        HostileFile{"truncation", set("/truncation", R"({"max_length": 5})"), "truncation is"},
        HostileFile{"padding", set("/padding", R"({"pad_id": 0})"), "padding is"},
        HostileFile{"no_splitter", set("/pre_tokenizer", "null"), "pre_tokenizer is missing"},
        HostileFile{"whitespace", set("/pre_tokenizer", R"({"type": "Whitespace"})"),
                    "pre_tokenizer is \"Whitespace\""},
        HostileFile{"metaspace", set("/pre_tokenizer", R"({"type": "Metaspace"})"),
                    "\"Metaspace\""},
        HostileFile{"splitter_number", set("/pre_tokenizer", "4"), "pre_tokenizer is 4"},
        HostileFile{"splitter_type_number", set("/pre_tokenizer/type", "4"), "pre_tokenizer is {"},
        HostileFile{"two_steps", set("/pre_tokenizer", R"({"type": "Sequence", "pretokenizers": [
                         {"type": "Digits"}, {"type": "ByteLevel", "add_prefix_space": false}]})"),
                    "pre_tokenizer is \"Sequence\""},
        HostileFile{"no_steps", set("/pre_tokenizer", R"({"type": "Sequence"})"), "\"Sequence\""},
        HostileFile{"steps_in_steps",
                    set("/pre_tokenizer", R"({"type": "Sequence", "pretokenizers": [
                         {"type": "Sequence", "pretokenizers": []}]})"),
                    "\"Sequence\""},
        HostileFile{"prefix_space", set("/pre_tokenizer/add_prefix_space", "true"),
                    "prefix_space is true"},
        HostileFile{"prefix_space_by_default", remove("/pre_tokenizer/add_prefix_space"),
                    "prefix_space is true"},
        HostileFile{"no_regex", set("/pre_tokenizer/use_regex", "false"), "use_regex is false"},
        HostileFile{"regex_text", set("/pre_tokenizer/use_regex", "\"yes\""),
                    "neither true nor false"},
        HostileFile{"template_with_a_token",
                    set("/post_processor",
                        R"({"type": "TemplateProcessing", "single": [{"SpecialToken": {"id": "a"}},
                            {"Sequence": {"id": "A"}}]})"),
                    "post_processor is \"TemplateProcessing\""},
        HostileFile{"template", set("/post_processor", R"({"type": "TemplateProcessing"})"),
                    "post_processor is \"TemplateProcessing\""},
        HostileFile{"no_decoder", set("/decoder", "null"), "decoder is missing"},
        HostileFile{"fuse", set("/decoder", R"({"type": "Fuse"})"), "decoder is \"Fuse\""},
        HostileFile{"word_piece", set("/model/type", "\"WordPiece\""),
                    "model.type is \"WordPiece\""},
        HostileFile{"type_number", set("/model/type", "1"), "model.type is"},
        HostileFile{"dropout", set("/model/dropout", "0.1"), "model.dropout is 0.1"},
        HostileFile{"dropout_true", set("/model/dropout", "true"), "model.dropout is true"},
        HostileFile{"unknown", set("/model/unk_token", "\"<unk>\""), "unk_token is \"<unk>\""},
        HostileFile{"prefix", set("/model/continuing_subword_prefix", "\"##\""), "is \"##\""},
        HostileFile{"suffix", set("/model/end_of_word_suffix", "\"</w>\""), "is \"</w>\""},
        HostileFile{"suffix_number", set("/model/end_of_word_suffix", "0"), "suffix is 0"},
        HostileFile{"fallback", set("/model/byte_fallback", "true"), "byte_fallback is true"},
        HostileFile{"fallback_number", set("/model/byte_fallback", "1"), "byte_fallback is 1"},
        HostileFile{"fuse_text", set("/model/fuse_unk", "\"no\""), "fuse_unk is \"no\""},
        HostileFile{"ignore_number", set("/model/ignore_merges", "1"), "ignore_merges is 1"}),
    kName);

TEST(BpeJson, AFileCutAnywhereIsADataError) {
  const auto text = json_text(small().to_json());
  for (std::size_t size = 0; size < text.size(); size += 1 + size / 40)
    EXPECT_THAT(message_of<DataError>([&] { read_file_text(text.substr(0, size)); }),
                StartsWith("t: "))
        << size;
}

TEST(BpeJson, TextsThatAreNoJsonAreDataErrors) {
  const auto text = json_text(small().to_json());
  const auto refusal = [](const std::string& given) {
    return message_of<DataError>([&] { read_file_text(given); });
  };
  EXPECT_THAT(refusal(std::string(10000, '[')), HasSubstr("nested deeper than 64"));
  EXPECT_THAT(refusal("\xEF\xBB\xBF" + text), HasSubstr("byte-order mark"));
  EXPECT_THAT(refusal(text + "x"), HasSubstr("something follows"));
  EXPECT_THAT(refusal(R"({"model": {"vocab": {"a": 0, "a": 1}}})"), HasSubstr("stands twice"));
  EXPECT_THAT(refusal(R"({"model": {"vocab": {"a": 1e999}}})"), HasSubstr("beyond the range"));
  EXPECT_THAT(refusal("{\"model\": {\"vocab\": {\"a\xFF\": 1}}}"), HasSubstr("invalid UTF-8"));
}

}  // namespace
}  // namespace moe
