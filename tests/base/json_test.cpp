#include "moe/base/json.h"

#include <gtest/gtest.h>

#include <fstream>
#include <limits>

#include "moe/base/text.h"
#include "tests/base/scratch.h"

namespace moe {
namespace {

using test::message_of;

Json parse(std::string_view text, const JsonLimits& limits = {}) {
  return parse_json(text, "f.json", ErrorKind::config, limits);
}
std::string refusal(std::string_view text) {
  return message_of<Error>([&] { parse(text); });
}

TEST(Json, ReadsEveryKindOfValueAndKeepsTheOrderOfKeys) {
  const auto json = parse(R"({"z": [1, -2, 2.5, true, null], "a": {"é": "\u00e9"}, "e": {}})");
  EXPECT_EQ(json_text(json), R"({"z":[1,-2,2.5,true,null],"a":{"é":"é"},"e":{}})");
  EXPECT_TRUE(json["z"][0].is_number_unsigned());
  EXPECT_TRUE(json["z"][2].is_number_float());
  EXPECT_EQ(parse("7"), 7);
}

TEST(Json, TheTreeIsTheOneThatTheLibraryItselfBuilds) {
  const std::string text = R"([[], {}, {"a": [{"b": [1, [2, {"c": "d"}], 3]}, 4], "e": 1e-3}, ""])";
  EXPECT_EQ(parse(text), Json::parse(text));
}

TEST(Json, AReaderMayAskForAllKeysThatStandTwice) {
  std::vector<std::string> twice;
  const auto json = parse_json("{\"a\": 1,\n \"a\": 2, \"b\": {\"c\": 3, \"c\": 4}}", "f.json",
                               ErrorKind::config, {}, &twice);
  const std::vector<std::string> places{
      "line 2, column 4: the key \"a\" stands twice; remove one",
      "line 2, column 26: the key \"c\" stands twice; remove one"};
  EXPECT_EQ(twice, places);
  EXPECT_EQ(json.size(), 3U);
}

TEST(Json, SaysLineAndColumnOfWhatIsWrong) {
  EXPECT_EQ(refusal("{\n  \"a\": 1,\n  \"a\": 2\n}"),
            "f.json: line 3, column 5: the key \"a\" stands twice; remove one");
  EXPECT_EQ(refusal("[1] 2"),
            "f.json: line 1, column 5: something follows the JSON value; remove it");
  EXPECT_EQ(
      refusal("{\n\"a\": 1e400}"),
      "f.json: line 2, column 10: 1e400 is beyond the range of a double; write a smaller one");
}

struct Hostile {
  const char* name;
  std::string text;
  const char* says;
};
class HostileJson : public testing::TestWithParam<Hostile> {};

TEST_P(HostileJson, IsRefusedWithAReason) {
  const auto message = refusal(GetParam().text);
  EXPECT_TRUE(message.starts_with("f.json: line ")) << message;
  EXPECT_NE(message.find(GetParam().says), std::string::npos) << message;
  EXPECT_LT(message.size(), 200U) << message;
}

INSTANTIATE_TEST_SUITE_P(
    Json, HostileJson,
    testing::Values(
        Hostile{"deep_arrays", std::string(1'000'000, '['), "nested deeper than 64"},
        Hostile{"one_level_too_deep", std::string(65, '[') + std::string(65, ']'), "nested deeper"},
        Hostile{"duplicate_key", R"({"a": {"b": 1, "b": 2}})", "\"b\" stands twice"},
        Hostile{"duplicate_by_escape", R"({"a": 1, "\u0061": 2})", "\"a\" stands twice"},
        Hostile{"beyond_double", "[-1e400]", "beyond the range"},
        Hostile{"not_a_number", "[NaN]", "NaN and infinity"},
        Hostile{"infinity", "[-Infinity]", "NaN and infinity"},
        Hostile{"byte_order_mark", "\xEF\xBB\xBF{}", "BOM"}, Hostile{"empty", "", "too early"},
        Hostile{"comment", "[1] // one", "comments"}, Hostile{"trailing_value", "{} {}", "follows"},
        Hostile{"trailing_comma", "[1,]", "does not belong"},
        Hostile{"single_quotes", "{'a': 1}", "does not belong"},
        Hostile{"invalid_utf8", "[\"\xff\"]", "UTF-8"},
        Hostile{"long_bad_token", "[\"" + std::string(100'000, 'a') + "\n\"]", "does not belong"}),
    [](const auto& hostile) { return std::string(hostile.param.name); });

TEST(Json, ATextCutOffAnywhereIsRefused) {
  const std::string text = R"({"a": [1, 2.5, "é\n"], "b": {"c": null}})";
  parse(text);
  for (std::size_t length = 0; length < text.size(); ++length)
    EXPECT_NE(refusal(text.substr(0, length)), "") << length;
}

TEST(Json, TheDeepestAllowedNestingIsRead) {
  EXPECT_EQ(refusal(std::string(64, '[') + std::string(64, ']')), "");
}

TEST(Json, MoreBytesThanAllowedAreRefusedUnread) {
  EXPECT_EQ(message_of<Error>([] { parse("[1, 2]", {.max_bytes = 5}); }),
            "f.json: 6 bytes of JSON, more than 5; make it smaller");
}

// Quadratic search for the key made this take minutes; here it is the test's time limit that tells.
TEST(Json, AnObjectWithManyKeysTakesLinearTime) {
  std::string text = "{";
  constexpr int kKeys = 300'000;
  for (int i = 0; i < kKeys; ++i) text += cat(i == 0 ? "" : ",", "\"key", i, "\":0");
  EXPECT_EQ(parse(text + "}").size(), std::size_t{kKeys});
}

TEST(Json, AnErrorHasTheKindOfItsReader) {
  const auto kind = [](ErrorKind asked) {
    try {
      parse_json("{", "x", asked);
    } catch (const Error& error) {
      return error.kind();
    }
    return ErrorKind::resource;
  };
  EXPECT_EQ(kind(ErrorKind::checkpoint), ErrorKind::checkpoint);
  EXPECT_EQ(kind(ErrorKind::data), ErrorKind::data);
}

TEST(Json, AFileIsReadAndAMissingOneNamed) {
  const test::Scratch scratch;
  const auto path = (scratch / "a.json").string();
  EXPECT_NE(message_of<Error>([&] { read_json(path, ErrorKind::data); }).find(path),
            std::string::npos);
  std::ofstream(path) << "{\"a\": 1}";
  EXPECT_EQ(read_json(path, ErrorKind::data)["a"], 1);
}

TEST(Json, TextRoundTripsDoublesAndMendsInvalidUtf8) {
  for (const double value : {0.1, 1.0 / 3, 5e-324, 1.7976931348623157e308, -0.0})
    EXPECT_EQ(parse(json_text(value)).get<double>(), value);
  EXPECT_EQ(json_text("a\xff"), "\"a\xEF\xBF\xBD\"");
  EXPECT_EQ(json_text(Json{{"a", 1}}, 2), "{\n  \"a\": 1\n}");
}

TEST(Json, WritingNanOrInfinityIsABug) {
  const double nan = std::numeric_limits<double>::quiet_NaN();
  EXPECT_THROW(json_text(Json{{"a", Json::array({1, nan})}}), std::logic_error);
  EXPECT_THROW(json_text(std::numeric_limits<double>::infinity()), std::logic_error);
}

}  // namespace
}  // namespace moe
