#include "moe/exchange/hf_config.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "moe/config/load.h"
#include "moe/config/spec_of.h"

namespace moe {
namespace {

using testing::HasSubstr;
using testing::IsEmpty;
using Overrides = std::vector<std::string>;

ModelConfig folder_model(Overrides overrides) {
  overrides.insert(overrides.begin(),
                   {"model.norm=rms", "model.positions=rotary", "model.bias=false",
                    "model.moe.activation=swiglu", "model.moe.router=topk", "model.n_embed=32",
                    "model.n_head=4", "model.n_layer=3", "model.moe.num_experts=4",
                    "model.moe.expert_width=16", "model.rotary_base=500.5"});
  RunConfig config;
  apply_overrides(config, overrides);
  EXPECT_THAT(config_problems(config), IsEmpty());
  return config.model;
}

Json folder_of(const ModelConfig& model) {
  const auto spec = spec_of(model, 11);
  return twin_config(model, spec, *find_twin(spec, Reader::transformers).twin, {"float32", {}});
}

Json section_json(const ModelConfig& model) {
  RunConfig config;
  config.model = model;
  return config_to_json(config)["model"];
}

/// What of a model a reader sees.
Twin seen_twin(const ModelConfig& model) {
  return *find_twin(spec_of(model, 11), Reader::transformers).twin;
}

class FolderConfig : public testing::TestWithParam<Overrides> {};

TEST_P(FolderConfig, ComesBackWithItsSection) {
  const auto model = folder_model(GetParam());
  const auto read = read_folder_config(folder_of(model), "config.json");
  EXPECT_EQ(section_json(read.model), section_json(model));
  EXPECT_EQ(read.vocab, 11);
  EXPECT_THAT(read.notices, IsEmpty());
}

TEST_P(FolderConfig, IsTheSameTwinWithoutItsSection) {
  const auto model = folder_model(GetParam());
  auto json = folder_of(model);
  json.erase("makemoe");
  const auto seen = seen_twin(read_folder_config(json, "config.json").model),
             was = seen_twin(model);
  EXPECT_EQ(seen.architecture, was.architecture);
  EXPECT_EQ(seen.attention_scale, was.attention_scale);
  EXPECT_EQ(seen.expert_width, was.expert_width);
  EXPECT_EQ(seen.shared_width, was.shared_width);
  EXPECT_EQ(seen.dense_layers, was.dense_layers);
  EXPECT_EQ(seen.dense_width, was.dense_width);
  EXPECT_EQ(seen.top_k, was.top_k);
  const auto read = read_folder_config(json, "config.json").model;
  EXPECT_EQ(read.moe.gate, model.moe.gate);
  EXPECT_EQ(read.moe.gate_norm, model.moe.gate_norm);
  EXPECT_EQ(read.moe.gate_scale, model.moe.gate_scale);
  EXPECT_EQ(read.rotary_base, model.rotary_base);
  EXPECT_EQ(read.tied, model.tied);
}

const Overrides kSigmoidGates{"model.moe.gate=sigmoid", "model.moe.shared_experts=2",
                              "model.moe.gate_scale=2.5", "model.moe.gate_norm=false"};

Overrides and_also(Overrides some, const Overrides& more) {
  some.insert(some.end(), more.begin(), more.end());
  return some;
}

INSTANTIATE_TEST_SUITE_P(
    Twins, FolderConfig,
    testing::Values(
        Overrides{}, Overrides{"model.tied=true", "model.attention_scale=n_embed"},
        Overrides{"model.qk_norm=head", "model.moe.gate=softmax_topk"},
        Overrides{"model.qk_norm=head", "model.moe.dense_layers=[0,2]", "model.moe.dense_width=40"},
        Overrides{"model.attention_scale=n_embed", "model.n_head=2"},
        Overrides{"model.moe.shared_experts=2"},
        Overrides{"model.moe.shared_experts=3", "model.moe.shared_gate=true"}, kSigmoidGates,
        and_also(kSigmoidGates, {"model.qk_norm=head", "model.moe.dense_layers=[0]"}),
        Overrides{"model.moe.num_experts=0", "model.moe.shared_experts=2"},
        Overrides{"model.moe.num_experts=0", "model.moe.shared_experts=1", "model.qk_norm=head"}));

TEST(FolderConfig, LeavesTheNoiseOfARouterOut) {
  const auto model = folder_model({"model.moe.router=noisy_topk"});
  const auto read = read_folder_config(folder_of(model), "config.json");
  EXPECT_EQ(read.model.moe.router, RouterKind::topk);
}

TEST(FolderConfig, OfOurOwnModelIsItsSection) {
  const auto model = folder_model({"model.norm=layer", "model.short_conv=3"});
  const auto json = own_config(model, spec_of(model, 11), {"float32", {}});
  const auto read = read_folder_config(json, "config.json");
  EXPECT_TRUE(read.is_own);
  EXPECT_EQ(section_json(read.model), section_json(model));
}

TEST(FolderConfig, SaysWhichIdEndsAText) {
  const auto model = folder_model({});
  const auto spec = spec_of(model, 11);
  const auto json =
      twin_config(model, spec, *find_twin(spec, Reader::transformers).twin, {"bfloat16", 3});
  EXPECT_EQ(json["eos_token_id"], 3);
  EXPECT_EQ(json["torch_dtype"], "bfloat16");
}

TEST(FolderConfig, NamesAllThatWeCannotDoAtOnce) {
  auto json = folder_of(folder_model({}));
  json["hidden_act"] = "gelu";
  json["attention_bias"] = true;
  json["rms_norm_eps"] = 1e-5;
  try {
    read_folder_config(json, "here");
    FAIL();
  } catch (const CheckpointError& error) {
    for (const auto* key : {"here: ", "hidden_act", "attention_bias", "rms_norm_eps"})
      EXPECT_THAT(error.what(), HasSubstr(key));
  }
}

TEST(FolderConfig, NoticesKeysThatItDoesNotKnow) {
  auto json = folder_of(folder_model({}));
  json["another"] = 1;
  EXPECT_THAT(read_folder_config(json, "config.json").notices,
              testing::ElementsAre(HasSubstr("another")));
}

TEST(FolderConfig, OfFewerKeyHeadsSaysHowMany) {
  auto json = folder_of(folder_model({}));
  json["num_key_value_heads"] = 2;
  json.erase("makemoe");
  EXPECT_EQ(read_folder_config(json, "config.json").key_value_heads, 2);
}

}  // namespace
}  // namespace moe
