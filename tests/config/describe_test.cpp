#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <sstream>
#include <string>
#include <vector>

#include "moe/base/text.h"
#include "moe/config/load.h"
#include "tests/config/sample.h"

namespace moe {
namespace {

using test::every_key_changed;
using test::leaf;
using test::leaves;
using test::tree_with;
using testing::ElementsAreArray;
using testing::EndsWith;
using testing::IsEmpty;

bool has_type(const Json& value, const std::string& type) {
  if (type == "integer") return value.is_number_integer();
  if (type == "number") return value.is_number();
  if (type == "string") return value.is_string();
  if (type == "boolean") return value.is_boolean();
  if (type == "object") return value.is_object();
  if (type == "array") return value.is_array();
  return type == "null" && value.is_null();
}

/// The part of JSON Schema that config_schema uses: what is wrong with `value`, one a line. An
/// unknown keyword is wrong too, so that nothing is taken for checked that is not.
void validate(const Json& value, const Json& schema, const std::string& at,
              std::vector<std::string>& out) {
  const auto number = value.is_number() ? value.get<double>() : 0.0;
  const auto refuse_if = [&](bool wrong, const std::string& keyword) {
    if (wrong) out.push_back(cat(at, ": ", keyword));
  };
  for (const auto& item : schema.items()) {
    const auto& word = item.key();
    const auto& limit = item.value();
    if (word == "type") {
      bool fits = false;
      for (const auto& type : limit.is_array() ? limit : Json::array({limit}))
        fits = fits || has_type(value, type.get<std::string>());
      refuse_if(!fits, word);
    } else if (word == "enum") {
      refuse_if(std::find(limit.begin(), limit.end(), value) == limit.end(), word);
    } else if (word == "minimum") {
      refuse_if(value.is_number() && number < limit.get<double>(), word);
    } else if (word == "maximum") {
      refuse_if(value.is_number() && number > limit.get<double>(), word);
    } else if (word == "minItems") {
      refuse_if(value.is_array() && value.size() < limit.get<std::size_t>(), word);
    } else if (word == "maxItems") {
      refuse_if(value.is_array() && value.size() > limit.get<std::size_t>(), word);
    } else if (word == "minLength") {
      refuse_if(value.is_string() && value.get<std::string>().size() < limit.get<std::size_t>(),
                word);
    } else if (word == "items") {
      for (std::size_t i = 0; value.is_array() && i < value.size(); ++i)
        validate(value[i], limit, cat(at, "[", i, "]"), out);
    } else if (word == "anyOf") {
      refuse_if(std::none_of(limit.begin(), limit.end(),
                             [&](const Json& one) {
                               std::vector<std::string> wrong;
                               validate(value, one, at, wrong);
                               return wrong.empty();
                             }),
                word);
    } else if (word == "properties") {
      const auto members = value.is_object() ? value : Json::object();
      for (const auto& member : members.items())
        if (limit.contains(member.key()))
          validate(member.value(), limit.at(member.key()), at + "." + member.key(), out);
        else
          refuse_if(!schema.value("additionalProperties", true), "." + member.key());
    } else {
      const std::vector<std::string> silent{"$schema", "title", "description", "default",
                                            "additionalProperties"};
      refuse_if(std::find(silent.begin(), silent.end(), word) == silent.end(), "unknown " + word);
    }
  }
}
std::vector<std::string> violations(const Json& value) {
  std::vector<std::string> out;
  validate(value, config_schema(), "", out);
  return out;
}

/// The schema of the key "a.b.c".
Json schema_at(const std::string& key) {
  auto at = config_schema();
  std::istringstream parts(key);
  for (std::string part; std::getline(parts, part, '.');) at = Json(at.at("properties").at(part));
  return at;
}

void collect_schema_leaves(const Json& schema, const std::string& path,
                           std::vector<std::string>& out) {
  for (const auto& item : schema.at("properties").items()) {
    const auto here = path.empty() ? item.key() : path + "." + item.key();
    if (item.value().contains("properties"))
      collect_schema_leaves(item.value(), here, out);
    else
      out.push_back(here);
  }
}

std::vector<std::string> described_lines() {
  std::vector<std::string> lines;
  std::istringstream text(describe_config());
  for (std::string line; std::getline(text, line);) lines.push_back(line);
  return lines;
}

/// The line of describe_config about `key`.
std::string described(const std::string& key) {
  for (const auto& line : described_lines())
    if (line.starts_with(key + " ")) return line;
  return "";
}

TEST(ConfigSchema, AcceptsWhatIsWritten) {
  EXPECT_THAT(violations(config_to_json({})), IsEmpty());
  EXPECT_THAT(violations(config_to_json(every_key_changed())), IsEmpty());
  EXPECT_THAT(violations({{"extends", "a.json"}, {"$schema", "x"}, {"seed", 1}}), IsEmpty());
  EXPECT_THAT(violations(tree_with("model.moe.balance", {{"kind", "switch"}})), IsEmpty());
  EXPECT_THAT(violations(Json::object()), IsEmpty()) << "no key is required";
}

TEST(ConfigSchema, HoldsEachKeyOnceWithItsDefaultAndMeaning) {
  const auto defaults = config_to_json({});
  std::vector<std::string> keys;
  collect_schema_leaves(config_schema(), "", keys);
  auto expected = leaves(defaults);
  expected.insert(expected.end(), {"extends", "$schema"});
  EXPECT_THAT(keys, ElementsAreArray(expected));
  for (const auto& key : leaves(defaults)) {
    const auto schema = schema_at(key);
    EXPECT_EQ(schema.at("default"), leaf(defaults, key)) << key;
    EXPECT_GT(schema.at("description").get<std::string>().size(), 5U) << key;
  }
}

TEST(ConfigSchema, SaysWhichDialectItIs) {
  EXPECT_EQ(config_schema().at("$schema"), "https://json-schema.org/draft/2020-12/schema");
}

struct Case {
  const char* name;
  const char* key;
  const char* value;
};
class SchemaAndReader : public testing::TestWithParam<Case> {};

TEST_P(SchemaAndReader, RefuseTheSameValue) {
  const auto tree =
      tree_with(GetParam().key, parse_json(GetParam().value, "value", ErrorKind::config));
  EXPECT_EQ(violations(tree).size(), 1U);
  EXPECT_THROW(config_from_json(tree, "c.json"), ConfigError);
}

INSTANTIATE_TEST_SUITE_P(
    Config, SchemaAndReader,
    testing::Values(
        Case{"unknown_key", "sed", "1"}, Case{"unknown_below", "model.moe.topk", "1"},
        Case{"fraction_for_integer", "model.n_layer", "2.5"},
        Case{"text_for_number", "optim.eps", "\"1\""},
        Case{"number_for_boolean", "deterministic", "1"}, Case{"number_for_text", "device", "1"},
        Case{"unknown_name", "eval.mode", "\"x\""}, Case{"null_for_integer", "seed", "null"},
        Case{"text_for_optional", "optim.grad_clip", "\"x\""},
        Case{"array_for_section", "model", "[]"}, Case{"below_minimum", "model.n_embed", "0"},
        Case{"above_maximum", "model.n_embed", "16385"},
        Case{"below_a_fraction", "optim.learning_rate", "0"},
        Case{"above_a_fraction", "model.dropout", "1"},
        Case{"optional_below_minimum", "train.sample_interval", "0"},
        Case{"pair_of_one", "optim.betas", "[0.9]"},
        Case{"pair_of_three", "optim.betas", "[0.9, 0.9, 0.9]"},
        Case{"in_a_pair", "optim.betas", "[0.9, 1.0]"},
        Case{"number_for_list", "model.moe.hash_layers", "3"},
        Case{"in_a_list", "model.moe.hash_layers", "[1, -1]"},
        Case{"text_for_list_of_objects", "model.moe.balance", "\"switch\""},
        Case{"unknown_kind", "model.moe.balance", R"([{"kind": "swich"}])"},
        Case{"unknown_kind_alone", "model.moe.balance", R"({"kind": "swich"})"},
        Case{"unknown_key_in_a_list", "model.moe.balance", R"([{"kind": "switch", "wait": 1}])"},
        Case{"below_minimum_in_a_list", "model.moe.balance",
             R"([{"kind": "switch", "weight": -1}])"}),
    [](const auto& given) { return std::string(given.param.name); });

TEST(DescribeConfig, ListsEachKeyOnceInItsOrder) {
  std::vector<std::string> keys;
  for (const auto& line : described_lines()) keys.push_back(line.substr(0, line.find(' ')));
  EXPECT_THAT(keys, ElementsAreArray(leaves(config_to_json({}))));
}

/// What a line of describe_config calls the type of the key with this schema.
std::string type_in_words(const Json& schema) {
  if (schema.contains("enum")) return "text";
  if (schema.contains("anyOf"))
    return schema.at("anyOf")[0].at("type") == "string" ? "text or texts" : "list of objects";
  const auto& type = schema.at("type");
  if (type.is_array()) return type[0].get<std::string>() + " or null";
  if (type == "array" && schema.contains("minItems")) return "two numbers";
  if (type == "array") return "list of " + type_in_words(schema.at("items")) + "s";
  return type == "string" ? "text" : type.get<std::string>();
}

/// Where type, default and meaning begin in the line of `key`; what is missing is npos.
std::array<std::size_t, 3> columns_of(const std::string& key) {
  const auto line = described(key);
  const auto schema = schema_at(key);
  std::array<std::size_t, 3> at{};
  const auto type = type_in_words(schema);
  at[0] = line.find(" " + type + " ", key.size());
  at[1] = line.find(" " + json_text(schema.at("default")) + " ", at[0] + type.size());
  at[2] = line.find(" " + schema.at("description").get<std::string>(), at[1] + 1);
  return at;
}

TEST(DescribeConfig, ALineHoldsTypeDefaultAndMeaningInThisOrder) {
  for (const auto& key : leaves(config_to_json({}))) {
    const auto at = columns_of(key);
    EXPECT_TRUE(std::is_sorted(at.begin(), at.end()) && at[2] != std::string::npos)
        << described(key);
  }
}

TEST(DescribeConfig, ABoundReadsAsItIs) {
  EXPECT_THAT(described("model.n_embed"), EndsWith("(from 1 to 16384)"));
  EXPECT_THAT(described("model.dropout"), EndsWith("(from 0 to 0.99)"));
  EXPECT_THAT(described("optim.learning_rate"), EndsWith("(from 1e-12 to 1e30)"));
  EXPECT_THAT(described("seed"), EndsWith("(at least 0)"));
}

// Each of these failed when it was written.

// It said "published | full | random)": the address of a copy was compared.
TEST(DescribeConfig, TheNamesThatAKeyCanHaveStandInBrackets) {
  EXPECT_THAT(described("eval.mode"), EndsWith(" (full | random)"));
  EXPECT_THAT(described("data.order"), EndsWith(" (random | epoch | sequential)"));
}

// The columns were as wide as their widest entry, or narrower.
TEST(DescribeConfig, TheColumnsAreAligned) {
  for (const auto& key : leaves(config_to_json({})))
    EXPECT_EQ(columns_of(key), columns_of("seed")) << described(key);
}

}  // namespace
}  // namespace moe
