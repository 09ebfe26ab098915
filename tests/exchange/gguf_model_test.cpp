#include "moe/exchange/gguf_model.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <limits>

#include "moe/base/text.h"
#include "tests/exchange/gguf_sample.h"

namespace moe {
namespace {

using test::exported;
using test::gguf_config;
using test::GgufOnDisk;
using test::PublishedTensors;
using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

ModelSpec spec_of_letters(const ModelConfig& config) {
  return spec_of(config, test::letters().vocab_size());
}

struct GgufCase {
  const char* label;
  std::vector<std::string> overrides;
  const char* architecture;
};
void PrintTo(const GgufCase& one, std::ostream* out) { *out << one.label; }

const std::vector<GgufCase>& gguf_cases() {
  static const std::vector<GgufCase> kCases{
      {"mixtral", {}, "llama"},
      {"tied", {"model.tied=true"}, "llama"},
      {"noisy", {"model.moe.router=noisy_topk"}, "llama"},
      {"qwen3moe", {"model.qk_norm=head", "model.qk_gain=2"}, "qwen3moe"},
      {"scale", {"model.qk_norm=head", "model.attention_scale=n_embed"}, "qwen3moe"},
      {"folded", {"model.attention_scale=n_embed"}, "llama"},
      {"granite", {"model.attention_scale=n_embed", "model.n_head=8"}, "granitemoe"},
      {"granite_shared", {"model.moe.shared_experts=2"}, "granitemoe"},
      {"qwen2moe",
       {"model.moe.gate=softmax_topk", "model.moe.shared_experts=1", "model.moe.shared_gate=true"},
       "qwen2moe"},
      {"glm4moe",
       {"model.moe.gate=sigmoid", "model.moe.shared_experts=1", "model.moe.gate_scale=1.5",
        "model.moe.dense_layers=[0]", "model.moe.balance=[{\"kind\":\"loss_free\"}]"},
       "glm4moe"},
      {"glm4moe_unbiased",
       {"model.moe.gate=sigmoid", "model.moe.shared_experts=2", "model.moe.gate_norm=false"},
       "glm4moe"},
      {"dots1",
       {"model.moe.gate=sigmoid", "model.moe.shared_experts=2", "model.qk_norm=head",
        "model.moe.dense_layers=[0]", "model.moe.dense_width=40",
        "model.moe.balance=[{\"kind\":\"loss_free\"}]"},
       "dots1"},
      {"dense", {"model.moe.num_experts=0", "model.moe.shared_experts=2"}, "llama"},
      {"dense_qk",
       {"model.moe.num_experts=0", "model.moe.shared_experts=1", "model.qk_norm=head"},
       "qwen3"}};
  return kCases;
}

class GgufModels : public ::testing::TestWithParam<GgufCase> {
 protected:
  ModelConfig config() const { return gguf_config(GetParam().overrides); }
};
INSTANTIATE_TEST_SUITE_P(Twins, GgufModels, ::testing::ValuesIn(gguf_cases()),
                         [](const auto& one) { return std::string(one.param.label); });

/// Of the file's model, with values from the file.
std::map<std::string, std::vector<float>> imported(const GgufOnDisk& on_disk,
                                                   GgufDescription* says = nullptr) {
  const auto description = describe_gguf(on_disk.header(), "m.gguf");
  PublishedTensors read(spec_of(description.config, description.tokenizer.vocab_size()), 0);
  import_gguf(on_disk.file(), on_disk.header(), description, "m.gguf", true, read.room());
  if (says != nullptr) *says = description;
  return read.tensors();
}

/// Ours as the file has them: without noise, and its router under the name that it then has.
std::map<std::string, std::vector<float>> tensors_without_noise(PublishedTensors tensors) {
  std::map<std::string, std::vector<float>> out;
  for (auto& [name, values] : tensors.tensors()) {
    auto as = name;
    if (const auto at = as.find("topkroute_linear"); at != std::string::npos)
      as.replace(at, std::string("topkroute_linear").size(), "linear");
    if (as.find("noise_linear") == std::string::npos) out[as] = values;
  }
  return out;
}

TEST_P(GgufModels, AreReadBackBitForBitAndAreOfTheirArchitecture) {
  const PublishedTensors ours(spec_of_letters(config()));
  const GgufOnDisk on_disk(exported(config(), ours));
  GgufDescription says;
  EXPECT_EQ(imported(on_disk, &says), tensors_without_noise(ours));
  EXPECT_EQ(says.tokenizer, Tokenizer(test::letters()));
  EXPECT_EQ(*on_disk.header().keys.find("general.architecture"),
            GgufValue(GetParam().architecture));
}

/// The file without the key that only makemoe writes.
std::string as_of_others(const GgufOnDisk& on_disk) {
  GgufKeys keys;
  for (const auto& [key, value] : on_disk.header().keys.entries())
    if (!key.starts_with("makemoe.")) keys.add(key, value);
  std::vector<GgufSource> sources;
  for (const auto& tensor : on_disk.header().tensors)
    sources.push_back(
        {tensor.name, static_cast<GgmlType>(tensor.type), tensor.shape,
         [&](const ValueSink& sink) { read_gguf_values(on_disk.file(), tensor, "m.gguf", sink); }});
  return test::bytes_of_source([&](const ByteSink& sink) { write_gguf(keys, sources, sink); });
}

TEST_P(GgufModels, OfOthersAreReadByTheirKeysAndBecomeTheSameFile) {
  const PublishedTensors ours(spec_of_letters(config()));
  const GgufOnDisk own(exported(config(), ours));
  const GgufOnDisk foreign(as_of_others(own));
  GgufDescription says;
  PublishedTensors read(spec_of_letters(describe_gguf(foreign.header(), "m.gguf").config), 0);
  read.tensors() = imported(foreign, &says);
  const GgufOnDisk again(exported(says.config, read));
  EXPECT_EQ(as_of_others(again), foreign.bytes());
}

TEST_P(GgufModels, HaveNoTensorTwiceAndLeaveNoneOut) {
  const auto spec = spec_of_letters(config());
  std::map<std::string, int> uses;
  const auto twin = *find_twin(spec, Reader::llama_cpp).twin;
  for (const auto& tensor : gguf_tensors(spec, twin, {spec.layers.front().attention.heads}))
    for (const auto& part : tensor.parts)
      for (const auto& name : part.names) ++uses[name];
  for (const auto& piece : ParameterTable(spec).published()) {
    const bool is_dropped = piece.name.find("noise_linear") != std::string::npos;
    EXPECT_EQ(uses[piece.name], is_dropped ? 0 : 1) << piece.name;
  }
}

TEST(GgufModel, ARotaryHeadHasItsHalvesTakenInTurns) {
  const auto config = gguf_config({"model.n_embed=8", "model.n_head=1"});
  PublishedTensors ours(spec_of_letters(config));
  for (const auto* which : {"query", "key", "value"}) {
    auto& values = ours.tensors().at(cat("blocks.0.sa.heads.0.", which, ".weight"));
    for (std::size_t i = 0; i < values.size(); ++i) values[i] = static_cast<float>(i / 8);
  }
  const GgufOnDisk on_disk(exported(config, ours));
  const auto rows = [&](const std::string& name) {
    std::vector<float> out;
    for (const auto& tensor : on_disk.header().tensors)
      if (tensor.name == name)
        read_gguf_values(on_disk.file(), tensor, "", [&](std::span<const float> values) {
          for (std::size_t i = 0; i < values.size(); i += 8) out.push_back(values[i]);
        });
    return out;
  };
  EXPECT_THAT(rows("blk.0.attn_q.weight"), ElementsAre(0, 4, 1, 5, 2, 6, 3, 7));
  EXPECT_THAT(rows("blk.0.attn_k.weight"), ElementsAre(0, 4, 1, 5, 2, 6, 3, 7));
  EXPECT_THAT(rows("blk.0.attn_v.weight"), ElementsAre(0, 1, 2, 3, 4, 5, 6, 7));
}

TEST(GgufModel, AScaleThatAPowerOfTwoMendsIsInTheGainOfQueries) {
  const auto config = gguf_config({"model.qk_norm=head", "model.attention_scale=n_embed"});
  PublishedTensors ours(spec_of_letters(config));
  ours.tensors().at("blocks.1.sa.q_norm.weight").assign(8, 3);
  const GgufOnDisk on_disk(exported(config, ours));
  for (const auto& tensor : on_disk.header().tensors)
    if (tensor.name == "blk.1.attn_q_norm.weight")
      read_gguf_values(on_disk.file(), tensor, "", [](std::span<const float> values) {
        EXPECT_EQ(values[0], 1.5F);  // sqrt(8 / 32) of it
      });
}

TEST(GgufModel, TheKeysSayWhatTheModelComputes) {
  const auto config = gguf_config({"model.qk_norm=head", "model.rotary_base=5000"});
  const GgufOnDisk on_disk(exported(config, PublishedTensors(spec_of_letters(config))));
  const auto value = [&](const char* key) {
    const auto* found = on_disk.header().keys.find(key);
    return found == nullptr ? GgufValue() : *found;
  };
  const auto u32 = [](std::uint32_t number) { return GgufValue(number); };
  EXPECT_EQ(value("qwen3moe.block_count"), u32(2));
  EXPECT_EQ(value("qwen3moe.vocab_size"), u32(12));
  EXPECT_EQ(value("qwen3moe.context_length"), u32(16));
  EXPECT_EQ(value("qwen3moe.embedding_length"), u32(32));
  EXPECT_EQ(value("qwen3moe.attention.head_count"), u32(4));
  EXPECT_EQ(value("qwen3moe.attention.key_length"), u32(8));
  EXPECT_EQ(value("qwen3moe.attention.layer_norm_rms_epsilon"), GgufValue(1e-6F));
  EXPECT_EQ(value("qwen3moe.rope.freq_base"), GgufValue(5000.0F));
  EXPECT_EQ(value("qwen3moe.expert_count"), u32(3));
  EXPECT_EQ(value("qwen3moe.expert_used_count"), u32(2));
  EXPECT_EQ(value("qwen3moe.expert_feed_forward_length"), u32(32));
  EXPECT_EQ(value("general.file_type"), u32(0));
}

TEST(GgufModel, SigmoidGatesSayWhatTheyAreDividedAndMultipliedBy) {
  const auto config = gguf_config({"model.moe.gate=sigmoid", "model.moe.shared_experts=1",
                                   "model.moe.gate_norm=false", "model.moe.gate_scale=1.5"});
  const GgufOnDisk on_disk(exported(config, PublishedTensors(spec_of_letters(config))));
  const auto& keys = on_disk.header().keys;
  EXPECT_EQ(*keys.find("glm4moe.expert_weights_norm"), GgufValue(false));
  EXPECT_EQ(*keys.find("glm4moe.expert_weights_scale"), GgufValue(1.5F));
  EXPECT_EQ(*keys.find("glm4moe.expert_gating_func"), GgufValue(std::uint32_t{2}));
}

TEST(GgufModel, AKeyThatSaysAnotherModelThanTheFilesConfigIsRefused) {
  const auto config = gguf_config({});
  const GgufOnDisk on_disk(exported(config, PublishedTensors(spec_of_letters(config))));
  auto header = on_disk.header();
  GgufKeys keys;
  for (const auto& [key, value] : header.keys.entries())
    keys.add(key, key == "llama.rope.freq_base" ? GgufValue(5000.0F) : value);
  header.keys = keys;
  EXPECT_THAT(test::message_of<CheckpointError>([&] { describe_gguf(header, "m.gguf"); }),
              AllOf(HasSubstr("llama.rope.freq_base"), HasSubstr("10000")));
}

TEST(GgufModel, WhatQ8CannotHoldStaysF16AndThatIsSaid) {
  const auto config = gguf_config({"model.moe.expert_width=40"});
  std::vector<std::string> notices;
  const GgufOnDisk on_disk(
      exported(config, PublishedTensors(spec_of_letters(config)), GgmlType::q8_0, &notices));
  for (const auto& tensor : on_disk.header().tensors) {
    const bool is_exact = tensor.shape.size() == 1 || tensor.name.ends_with("gate_inp.weight");
    const auto wanted = is_exact                                        ? GgmlType::f32
                        : tensor.name.ends_with("ffn_down_exps.weight") ? GgmlType::f16
                                                                        : GgmlType::q8_0;
    EXPECT_EQ(tensor.type, static_cast<std::uint32_t>(wanted)) << tensor.name;
  }
  EXPECT_THAT(notices, ElementsAre(AllOf(HasSubstr("blk.0.ffn_down_exps.weight and 1 more: F16"),
                                         HasSubstr("40 values"))));
  EXPECT_THAT(*on_disk.header().keys.find("general.quantization_version"),
              GgufValue(std::uint32_t{2}));
}

TEST(GgufModel, ValuesOfFewerBitsAreReadAsTheyAreHeld) {
  const auto config = gguf_config({});
  const PublishedTensors ours(spec_of_letters(config));
  for (const auto type : {GgmlType::f16, GgmlType::bf16, GgmlType::q8_0}) {
    PublishedTensors read(spec_of_letters(config), 0);
    const auto once = exported(config, ours, type);
    read.tensors() = imported(GgufOnDisk(once));
    EXPECT_NE(read.tensors(), PublishedTensors(ours).tensors());
    EXPECT_TRUE(type == GgmlType::q8_0 || exported(config, read, type) == once);
  }
}

TEST(GgufModel, ValuesThatATypeMakesInfiniteAreRefusedBeforeAnythingIsWritten) {
  const auto config = gguf_config({});
  const std::pair<GgmlType, float> kLeast[] = {
      {GgmlType::f16, 65520}, {GgmlType::q8_0, 8321040}, {GgmlType::bf16, 0x1.FFp127F}};
  for (const auto& [type, least] : kLeast) {
    PublishedTensors ours(spec_of_letters(config));
    auto& value = ours.tensors().at("blocks.1.sa.proj.weight")[77];
    value = -std::nextafter(least, 0.0F);
    EXPECT_FALSE(exported(config, ours, type).empty());
    for (const auto& one : imported(GgufOnDisk(exported(config, ours, type))))
      for (const auto number : one.second) EXPECT_TRUE(std::isfinite(number));
    value = -least;
    const auto message = test::message_of<ConfigError>([&] { exported(config, ours, type); });
    EXPECT_THAT(message, HasSubstr("blk.1.attn_output.weight"));
  }
}

TEST(GgufModel, WithoutATwinTheKeysInTheWayAreNamed) {
  const auto config = gguf_config({"model.norm=layer", "model.short_conv=3"});
  const auto message = test::message_of<ConfigError>(
      [&] { exported(config, PublishedTensors(spec_of_letters(config))); });
  EXPECT_THAT(message, AllOf(HasSubstr("model.norm"), HasSubstr("model.short_conv")));
}

TEST(GgufModel, ARouterOfAFileHasNoNoiseAndNothingThatWantsIt) {
  const auto config =
      gguf_config({"model.moe.router=noisy_topk",
                   R"(model.moe.balance=[{"kind":"importance_load"},{"kind":"switch"}])"});
  std::vector<std::string> notices;
  const GgufOnDisk on_disk(
      exported(config, PublishedTensors(spec_of_letters(config)), GgmlType::f32, &notices));
  const auto read = describe_gguf(on_disk.header(), "m.gguf").config;
  EXPECT_EQ(read.moe.router, RouterKind::topk);
  ASSERT_EQ(read.moe.balance.size(), 1U);
  EXPECT_EQ(read.moe.balance[0].kind, BalanceKind::switch_loss);
  EXPECT_THAT(notices, ElementsAre(HasSubstr("noise")));
}

TEST(GgufModel, NanAndInfinityAreReadWhereTheyAreWantedAlone) {
  const auto config = gguf_config({});
  PublishedTensors ours(spec_of_letters(config));
  ours.tensors().at("ln_f.weight")[3] = std::numeric_limits<float>::infinity();
  const GgufOnDisk on_disk(exported(config, ours));
  EXPECT_THAT(test::message_of<CheckpointError>([&] { imported(on_disk); }),
              HasSubstr("output_norm.weight"));
  const auto description = describe_gguf(on_disk.header(), "m.gguf");
  PublishedTensors read(spec_of_letters(config), 0);
  import_gguf(on_disk.file(), on_disk.header(), description, "m.gguf", false, read.room());
  EXPECT_EQ(read.tensors(), ours.tensors());
}

TEST(GgufModel, ValuesWhereOurModelHasNoneAreRefused) {
  const auto unbiased = gguf_config({"model.moe.gate=sigmoid", "model.moe.shared_experts=1"});
  auto biased = unbiased;
  biased.moe.balance = {{.kind = BalanceKind::loss_free}};
  const GgufOnDisk with(exported(biased, PublishedTensors(spec_of_letters(biased))));
  const GgufOnDisk without(exported(unbiased, PublishedTensors(spec_of_letters(unbiased))));
  GgufDescription description = describe_gguf(without.header(), "m.gguf");
  PublishedTensors read(spec_of_letters(unbiased), 0);
  const auto message = test::message_of<CheckpointError>(
      [&] { import_gguf(with.file(), with.header(), description, "m.gguf", true, read.room()); });
  EXPECT_THAT(message, HasSubstr("blk.0.exp_probs_b.bias"));
}

}  // namespace
}  // namespace moe
