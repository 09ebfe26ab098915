#include "moe/exchange/foreign_tensors.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <map>
#include <numeric>

#include "moe/config/config.h"
#include "moe/config/load.h"
#include "moe/config/spec_of.h"
#include "moe/spec/parameter_table.h"

namespace moe {
namespace {

using testing::ElementsAre;

/// Our tensors with values of their own: 0, 1, 2, ... through the model.
class OwnValues {
 public:
  explicit OwnValues(const ModelSpec& spec) {
    const ParameterTable table(spec);
    float next = 0;
    for (const auto& piece : table.published()) {
      auto& values = values_[piece.name];
      values.resize(static_cast<std::size_t>(table.rows()[piece.row].piece_numel()));
      std::iota(values.begin(), values.end(), next);
      next += static_cast<float>(values.size());
    }
  }

  void clear() {
    for (auto& [name, values] : values_) std::ranges::fill(values, -1.0F);
  }
  ValuesOf reading() const {
    return [this](const std::string& name) { return std::span(values_.at(name)); };
  }
  PlaceOf writing() {
    return [this](const std::string& name) { return std::span(values_.at(name)); };
  }
  const std::map<std::string, std::vector<float>>& all() const { return values_; }

 private:
  std::map<std::string, std::vector<float>> values_;
};

ModelSpec small_spec(std::vector<std::string> overrides) {
  overrides.insert(
      overrides.begin(),
      {"model.norm=rms", "model.positions=rotary", "model.bias=false",
       "model.moe.activation=swiglu", "model.moe.router=topk", "model.n_embed=4", "model.n_head=2",
       "model.n_layer=2", "model.moe.num_experts=3", "model.moe.expert_width=2"});
  RunConfig config;
  apply_overrides(config, overrides);
  EXPECT_THAT(config_problems(config), testing::IsEmpty());
  return spec_of(config.model, 5);
}

Twin twin_of(const ModelSpec& spec) { return *find_twin(spec, Reader::transformers).twin; }

const ForeignTensor& named(const std::vector<ForeignTensor>& tensors, const std::string& name) {
  return *std::ranges::find(tensors, name, &ForeignTensor::name);
}

class FolderTensors : public testing::TestWithParam<std::vector<std::string>> {};

TEST_P(FolderTensors, HoldEachValueOnceAndGiveItBack) {
  const auto spec = small_spec(GetParam());
  OwnValues ours(spec);
  const auto before = ours.all();
  std::map<std::string, std::vector<float>> theirs;
  std::size_t count = 0, own_count = 0;
  const auto tensors = folder_tensors(spec, twin_of(spec));
  for (const auto& tensor : tensors) {
    theirs[tensor.name] = gather(tensor, ours.reading());
    if (!tensor.parts.empty()) count += theirs[tensor.name].size();
  }
  for (const auto& [name, values] : before) own_count += values.size();
  EXPECT_EQ(count, own_count);
  ours.clear();
  for (const auto& tensor : tensors) scatter(tensor, theirs[tensor.name], ours.writing());
  EXPECT_EQ(ours.all(), before);
}

INSTANTIATE_TEST_SUITE_P(
    Twins, FolderTensors,
    testing::Values(
        std::vector<std::string>{}, std::vector<std::string>{"model.tied=true"},
        std::vector<std::string>{"model.qk_norm=head", "model.moe.dense_layers=[1]"},
        std::vector<std::string>{"model.moe.shared_experts=2"},
        std::vector<std::string>{"model.moe.shared_experts=2", "model.moe.shared_gate=true"},
        std::vector<std::string>{"model.moe.shared_experts=2", "model.moe.gate=sigmoid"},
        std::vector<std::string>{"model.moe.num_experts=0", "model.moe.shared_experts=3"}));

TEST(FolderTensors, PutGatesOfGraniteAboveItsUps) {
  const auto spec = small_spec({"model.attention_scale=n_embed"});
  const OwnValues ours(spec);
  const auto tensors = folder_tensors(spec, twin_of(spec));
  const auto& both = named(tensors, "model.layers.1.block_sparse_moe.input_linear.weight");
  EXPECT_THAT(both.shape, ElementsAre(3, 4, 4));
  const auto values = gather(both, ours.reading());
  const auto& gate = ours.all().at("blocks.1.smoe.experts.2.net.gate.weight");
  const auto& up = ours.all().at("blocks.1.smoe.experts.2.net.up.weight");
  EXPECT_TRUE(std::equal(gate.begin(), gate.end(), values.begin() + 32));
  EXPECT_TRUE(std::equal(up.begin(), up.end(), values.begin() + 40));
}

TEST(FolderTensors, PutDownProjectionsOfSharedExpertsSideBySide) {
  const auto spec = small_spec({"model.moe.shared_experts=2"});
  const OwnValues ours(spec);
  const auto tensors = folder_tensors(spec, twin_of(spec));
  const auto& down = named(tensors, "model.layers.0.shared_mlp.output_linear.weight");
  EXPECT_THAT(down.shape, ElementsAre(4, 4));
  const auto values = gather(down, ours.reading());
  const auto& first = ours.all().at("blocks.0.smoe.shared.0.net.down.weight");
  const auto& second = ours.all().at("blocks.0.smoe.shared.1.net.down.weight");
  EXPECT_THAT(std::vector(values.begin() + 4, values.begin() + 8),
              ElementsAre(first[2], first[3], second[2], second[3]));
}

TEST(FolderTensors, MultiplyQueriesByWhatTheReadersScaleLacks) {
  const auto spec = small_spec(
      {"model.attention_scale=n_embed", "model.n_embed=16", "model.n_head=4", "model.moe.top_k=2"});
  const OwnValues ours(spec);
  const auto tensors = folder_tensors(spec, twin_of(spec));
  const auto values =
      gather(named(tensors, "model.layers.0.self_attn.q_proj.weight"), ours.reading());
  EXPECT_EQ(values[7], ours.all().at("blocks.0.sa.heads.0.query.weight")[7] / 2);
  const auto keys =
      gather(named(tensors, "model.layers.0.self_attn.k_proj.weight"), ours.reading());
  EXPECT_EQ(keys[7], ours.all().at("blocks.0.sa.heads.0.key.weight")[7]);
}

TEST(FolderTensors, GiveAKeyHeadToAllHeadsThatShareIt) {
  const auto spec = small_spec({"model.n_embed=8", "model.n_head=4"});
  OwnValues ours(spec);
  const auto tensors = folder_tensors(spec, twin_of(spec), KeyValueHeads{2});
  const auto& keys = named(tensors, "model.layers.0.self_attn.k_proj.weight");
  EXPECT_THAT(keys.shape, ElementsAre(4, 8));
  std::vector<float> theirs(32);
  std::iota(theirs.begin(), theirs.end(), 1000.0F);
  scatter(keys, theirs, ours.writing());
  for (const auto& [head, first] : std::map<int, float>{{0, 1000}, {1, 1000}, {2, 1016}, {3, 1016}})
    EXPECT_EQ(ours.all().at("blocks.0.sa.heads." + std::to_string(head) + ".key.weight")[0], first);
}

}  // namespace
}  // namespace moe
