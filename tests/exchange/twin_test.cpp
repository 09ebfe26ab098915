#include "moe/exchange/twin.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <random>

#include "moe/config/load.h"
#include "moe/config/spec_of.h"

namespace moe {
namespace {

using testing::Contains;
using testing::ElementsAre;
using testing::IsEmpty;
using Overrides = std::vector<std::string>;

const Overrides kMixtral{"model.norm=rms",          "model.positions=rotary",
                         "model.bias=false",        "model.moe.activation=swiglu",
                         "model.moe.router=topk",   "model.n_embed=64",
                         "model.n_head=4",          "model.n_layer=4",
                         "model.moe.num_experts=6", "model.moe.expert_width=48"};

ModelSpec spec_with(Overrides overrides) {
  overrides.insert(overrides.begin(), kMixtral.begin(), kMixtral.end());
  RunConfig config;
  apply_overrides(config, overrides);
  EXPECT_THAT(config_problems(config), IsEmpty());
  return spec_of(config.model, 11);
}

TwinAnswer answer(const Overrides& overrides, Reader reader = Reader::transformers) {
  return find_twin(spec_with(overrides), reader);
}

/// The model_type, or "" if llama.cpp is asked and has none.
std::string name_of(const Overrides& overrides, Reader reader) {
  const auto found = answer(overrides, reader);
  if (!found.twin) return "";
  const auto& names = names_of(found.twin->architecture);
  return std::string(reader == Reader::transformers ? names.model_type : names.gguf);
}

struct Case {
  const char* label;
  Overrides overrides;
  const char *transformers, *llama_cpp;
};

class Twins : public testing::TestWithParam<Case> {};

TEST_P(Twins, HaveTheNamesThatTheirReadersKnow) {
  EXPECT_EQ(name_of(GetParam().overrides, Reader::transformers), GetParam().transformers);
  EXPECT_EQ(name_of(GetParam().overrides, Reader::llama_cpp), GetParam().llama_cpp);
}

const Overrides kSigmoid{"model.moe.gate=sigmoid", "model.moe.shared_experts=1"};

Overrides plus(Overrides some, const Overrides& more) {
  some.insert(some.end(), more.begin(), more.end());
  return some;
}

INSTANTIATE_TEST_SUITE_P(
    Rows, Twins,
    testing::Values(
        Case{"mixtral", {}, "mixtral", "llama"},
        Case{"noisy", {"model.moe.router=noisy_topk"}, "mixtral", "llama"},
        Case{"tied", {"model.tied=true"}, "mixtral", "llama"},
        Case{"qwen3", {"model.qk_norm=head"}, "qwen3_moe", "qwen3moe"},
        Case{"qwen3_softmax_topk",
             {"model.qk_norm=head", "model.moe.gate=softmax_topk"},
             "qwen3_moe",
             ""},
        Case{
            "qwen3_dense", {"model.qk_norm=head", "model.moe.dense_layers=[0,2]"}, "qwen3_moe", ""},
        Case{"granite",
             {"model.attention_scale=n_embed", "model.n_head=8"},
             "granitemoe",
             "granitemoe"},
        Case{"folded", {"model.attention_scale=n_embed"}, "mixtral", "llama"},
        Case{"granite_shared", {"model.moe.shared_experts=2"}, "granitemoeshared", "granitemoe"},
        Case{"qwen2",
             {"model.moe.shared_experts=2", "model.moe.shared_gate=true",
              "model.moe.gate=softmax_topk"},
             "qwen2_moe",
             "qwen2moe"},
        Case{"qwen2_topk_softmax",
             {"model.moe.shared_experts=1", "model.moe.shared_gate=true"},
             "qwen2_moe",
             ""},
        Case{"glm4", kSigmoid, "glm4_moe", "glm4moe"},
        Case{"glm4_balanced",
             plus(kSigmoid, {R"(model.moe.balance={"kind":"loss_free","rate":0.001})"}), "glm4_moe",
             "glm4moe"},
        Case{"dots1", plus(kSigmoid, {"model.qk_norm=head", "model.moe.dense_layers=[0,1]"}),
             "dots1", "dots1"},
        Case{"dots1_tied", plus(kSigmoid, {"model.qk_norm=head", "model.tied=true"}), "dots1", ""},
        Case{"llama", {"model.moe.num_experts=0", "model.moe.shared_experts=2"}, "llama", "llama"},
        Case{"qwen3_dense_alone",
             {"model.moe.num_experts=0", "model.moe.shared_experts=1", "model.qk_norm=head"},
             "qwen3",
             "qwen3"}),
    [](const auto& one) { return one.param.label; });

struct Obstacle {
  const char* label;
  Overrides overrides;
  const char* key;
};

class Obstacles : public testing::TestWithParam<Obstacle> {};

TEST_P(Obstacles, AreNamedByTheirKeysAlone) {
  const auto found = answer(GetParam().overrides);
  EXPECT_FALSE(found.twin);
  EXPECT_THAT(found.obstacles, ElementsAre(GetParam().key));
}

INSTANTIATE_TEST_SUITE_P(
    Keys, Obstacles,
    testing::Values(Obstacle{"norm", {"model.norm=layer"}, "model.norm"},
                    Obstacle{"positions", {"model.positions=none"}, "model.positions"},
                    Obstacle{"activation", {"model.moe.activation=gelu"}, "model.moe.activation"},
                    Obstacle{"bias", {"model.bias=true"}, "model.bias"},
                    Obstacle{"short_conv", {"model.short_conv=3"}, "model.short_conv"},
                    Obstacle{"x0", {"model.x0_shortcut=true"}, "model.x0_shortcut"},
                    Obstacle{"ngram", {"model.ngram.orders=[2]"}, "model.ngram.orders"},
                    Obstacle{"values", {"model.value_residual=true"}, "model.value_residual"},
                    Obstacle{"hash", {"model.moe.router=hash"}, "model.moe.router"},
                    Obstacle{"hash_layers", {"model.moe.hash_layers=[1]"}, "model.moe.hash_layers"},
                    Obstacle{"noise",
                             {"model.moe.router=noisy_topk", "model.moe.noise_in_eval=true"},
                             "model.moe.noise_in_eval"},
                    Obstacle{"gate", {"model.moe.gate=softmax_topk"}, "model.moe.gate"},
                    Obstacle{"balance",
                             {R"(model.moe.balance={"kind":"loss_free","rate":0.001})"},
                             "model.moe.balance"},
                    Obstacle{"dense", {"model.moe.dense_layers=[0]"}, "model.moe.dense_layers"},
                    Obstacle{"one_expert",
                             plus(kSigmoid, {"model.moe.num_experts=1", "model.moe.top_k=1",
                                             "model.moe.gate_norm=false", "model.qk_norm=head"}),
                             "model.moe.num_experts"},
                    Obstacle{"late_dense", plus(kSigmoid, {"model.moe.dense_layers=[1]"}),
                             "model.moe.dense_layers"},
                    Obstacle{
                        "scale",
                        {"model.attention_scale=n_embed", "model.n_head=8", "model.qk_norm=head"},
                        "model.attention_scale"},
                    Obstacle{"shared_beside_qk_norm",
                             {"model.moe.shared_experts=1", "model.qk_norm=head"},
                             "model.moe.shared_experts"}),
    [](const auto& one) { return one.param.label; });

TEST(Twin, FoldsAScaleThatIsAPowerOfTwoIntoQueries) {
  const auto twin = *answer({"model.attention_scale=n_embed"}).twin;
  EXPECT_EQ(twin.query_factor, 0.5);  // the root of 16 over 64
  EXPECT_EQ(twin.attention_scale, 0.25);
}

TEST(Twin, LeavesAnyScaleToThoseThatHaveOne) {
  const auto twin = *answer({"model.attention_scale=n_embed", "model.n_head=8"}).twin;
  EXPECT_EQ(twin.query_factor, 1);
  EXPECT_EQ(twin.attention_scale, 0.125);
}

TEST(Twin, HasSharedExpertsAsOneAsWideAsAll) {
  EXPECT_EQ(answer({"model.moe.shared_experts=3"}).twin->shared_width, 3 * 48);
}

TEST(Twin, TellsWhichLayersAreDenseAndHowWide) {
  const auto twin =
      *answer({"model.qk_norm=head", "model.moe.dense_layers=[2,1]", "model.moe.dense_width=80"})
           .twin;
  EXPECT_THAT(twin.dense_layers, ElementsAre(1, 2));
  EXPECT_EQ(twin.dense_width, 80);
  EXPECT_EQ(twin.expert_width, 48);
}

TEST(Twin, OfADenseModelHasNoMixture) {
  const auto twin = *answer({"model.moe.num_experts=0", "model.moe.shared_experts=2"}).twin;
  EXPECT_EQ(twin.expert_width, 0);
  EXPECT_EQ(twin.shared_width, 0);
  EXPECT_EQ(twin.dense_width, 2 * 48);
  EXPECT_THAT(twin.dense_layers, ElementsAre(0, 1, 2, 3));
}

/// Values of keys that decide about twins; those that twins want stand twice.
const std::vector<std::pair<std::string, Overrides>> kAxes{
    {"model.norm", {"rms", "rms", "rms", "layer"}},
    {"model.positions", {"rotary", "rotary", "rotary", "rotary", "learned", "none"}},
    {"model.bias", {"false", "false", "false", "true"}},
    {"model.n_head", {"4", "8"}},
    {"model.attention_scale", {"head_size", "n_embed"}},
    {"model.qk_norm", {"none", "head"}},
    {"model.tied", {"false", "true"}},
    {"model.short_conv", {"0", "0", "0", "4"}},
    {"model.x0_shortcut", {"false", "false", "false", "true"}},
    {"model.value_residual", {"false", "false", "false", "true"}},
    {"model.moe.activation", {"swiglu", "swiglu", "swiglu", "relu", "gelu"}},
    {"model.moe.num_experts", {"6", "6", "1", "0"}},
    {"model.moe.router", {"topk", "noisy_topk", "topk", "hash"}},
    {"model.moe.gate", {"topk_softmax", "softmax_topk", "sigmoid"}},
    {"model.moe.shared_experts", {"0", "1", "2"}},
    {"model.moe.shared_gate", {"false", "true"}},
    {"model.moe.dense_layers", {"[]", "[0]", "[1,3]"}}};

std::vector<ModelSpec> draw_specs() {
  constexpr int kCount = 1000;
  std::mt19937_64 random(7);
  std::vector<ModelSpec> out;
  while (std::ssize(out) < kCount) {
    RunConfig config;
    Overrides overrides = kMixtral;
    for (const auto& [key, values] : kAxes)
      overrides.push_back(key + "=" + values[random() % values.size()]);
    apply_overrides(config, overrides);
    if (config_problems(config).empty()) out.push_back(spec_of(config.model, 11));
  }
  return out;
}

const std::vector<ModelSpec>& drawn_specs() {
  static const auto specs = draw_specs();
  return specs;
}

TEST(Twin, IsThereOrElseAKeyIsNamed) {
  int found = 0, missing = 0;
  for (const auto& spec : drawn_specs())
    for (const auto reader : {Reader::transformers, Reader::llama_cpp}) {
      const auto one = find_twin(spec, reader);
      EXPECT_EQ(one.twin.has_value(), one.obstacles.empty());
      ++(one.twin ? found : missing);
    }
  EXPECT_GT(found, 20);
  EXPECT_GT(missing, 20);
}

TEST(Twin, OfLlamaCppIsOneThatTransformersHasToo) {
  for (const auto& spec : drawn_specs())
    EXPECT_TRUE(!find_twin(spec, Reader::llama_cpp).twin ||
                find_twin(spec, Reader::transformers).twin);
}

TEST(Twin, EveryObstacleIsAKeyOfTheReference) {
  const auto reference = config_to_json(RunConfig());
  for (const auto& spec : drawn_specs())
    for (const auto& key : find_twin(spec, Reader::llama_cpp).obstacles) {
      auto pointer = "/" + key;
      std::ranges::replace(pointer, '.', '/');
      EXPECT_TRUE(reference.contains(Json::json_pointer(pointer))) << key;
    }
}

}  // namespace
}  // namespace moe
