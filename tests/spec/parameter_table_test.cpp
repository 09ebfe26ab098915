#include "moe/spec/parameter_table.h"

#include <gmock/gmock.h>

#include <set>
#include <string>

#include "moe/base/error.h"

namespace moe {
namespace {

using ::testing::ElementsAre;

/// `bias`: of every Linear and norm.
ModelSpec makemoe(std::int64_t layers = 8, bool bias = true) {
  const FeedForwardSpec mixture{.experts = 8,
                                .top_k = 2,
                                .width = 512,
                                .router = RouterKind::noisy_topk,
                                .gate = Gate::topk_softmax,
                                .activation = Activation::relu,
                                .noise_in_eval = false,
                                .capacity_factor = {},
                                .bias = bias};
  const AttentionSpec attention{.heads = 8,
                                .head_width = 16,
                                .scale = 0.25,
                                .bias = bias,
                                .qk_norm = QkNorm::none,
                                .qk_gain = 1,
                                .rotary_base = {}};
  return {.vocab = 65,
          .width = 128,
          .context = 32,
          .position_table = true,
          .dropout = {0, 0.1, 0.1, 0.1},
          .init = Init::standard,
          .embedding_std = {},
          .router_init_std = {},
          .zero_outputs = false,
          .norm = {NormKind::layer, 1e-5, bias},
          .bias = bias,
          .tied = false,
          .layers = std::vector<LayerSpec>(static_cast<std::size_t>(layers), {attention, mixture})};
}

/// Three shared experts behind a gate.
ModelSpec with_shared(ModelSpec spec) {
  for (auto& layer : spec.layers) {
    layer.feed_forward.shared = 3;
    layer.feed_forward.shared_gate = true;
  }
  return spec;
}

TEST(ParameterTable, EachRowIsOfTheGroupThatItsNameTells) {
  const auto expected = [](const std::string& name) {
    const auto has = [&](const char* part) { return name.find(part) != std::string::npos; };
    if (has("embedding_table")) return ParameterGroup::embedding;
    if (has("lm_head")) return ParameterGroup::head;
    if (has(".router.") || has(".shared_gate.")) return ParameterGroup::router;
    if (has("ln")) return ParameterGroup::norm;
    if (has(".sa.")) return ParameterGroup::matrix;
    return ParameterGroup::expert;
  };
  auto tied = makemoe();
  tied.tied = true;
  for (const auto& spec : {makemoe(), tied, with_shared(makemoe())}) {
    const ParameterTable table(spec);
    for (const auto& row : table.rows()) EXPECT_EQ(row.group, expected(row.name)) << row.name;
  }
}

TEST(ParameterTable, EachConvolutionHasAWeightForEachChannelAndLagThatATokenIsMultipliedBy) {
  auto spec = makemoe(2);
  const ParameterTable plain(spec);
  for (auto& layer : spec.layers) layer.attention.short_conv = layer.feed_forward.short_conv = 3;
  const ParameterTable table(spec);
  const std::int64_t weights = 2 * 2 * 128 * 3;
  EXPECT_EQ(table.count(), plain.count() + weights);
  EXPECT_EQ(table.count_active(), plain.count_active() + weights);
  EXPECT_EQ(table.count_multiplied(), plain.count_multiplied() + weights);
  std::vector<std::string> published;
  for (const auto& piece : table.published())
    if (table.rows()[piece.row].role == Role::short_conv) published.push_back(piece.name);
  EXPECT_THAT(published, ElementsAre("blocks.0.sa_conv.weight", "blocks.0.smoe_conv.weight",
                                     "blocks.1.sa_conv.weight", "blocks.1.smoe_conv.weight"));
}

TEST(ParameterTable, ATokenReadsOneRowOfEachNgramTableAndTheWeightsOfItsBlocks) {
  auto spec = makemoe(2);
  const ParameterTable plain(spec);
  spec.x0_shortcut = true;
  spec.ngrams = {{2, {0, 1, 3, 4}}, {3, {0, 1, 2, 0, 1, 3, 5, 5, 5}}};
  const ParameterTable table(spec);
  const std::int64_t lambdas = 2 * 3;
  EXPECT_EQ(table.count(), plain.count() + (2 + 3) * 128 + lambdas);
  EXPECT_EQ(table.count_active(), plain.count_active() + 2 * 128 + lambdas);
  EXPECT_EQ(table.count_multiplied(), plain.count_multiplied() + lambdas);
  std::vector<std::string> published;
  for (const auto& piece : table.published()) {
    const auto& row = table.rows()[piece.row];
    if (row.group == ParameterGroup::table) published.push_back(piece.name);
    if (piece.name == "blocks.1.resid_lambda.weight") {
      EXPECT_EQ(row.start, 1);
    } else if (piece.name == "blocks.1.x0_lambda.weight") {
      EXPECT_EQ(row.start, 0);
    } else if (piece.name == "blocks.1.ngram_lambda.weight") {
      EXPECT_EQ(row.start, 0.1);
    }
  }
  EXPECT_THAT(published, ElementsAre("ngram.2.weight", "ngram.3.weight"));
}

TEST(ParameterTable, AModelWithoutBiasesHasNoRowOfThem) {
  const ParameterTable with(makemoe()), without(makemoe(8, /*bias=*/false));
  for (const auto& row : without.rows())
    EXPECT_TRUE(row.role != Role::linear_bias && row.role != Role::norm_bias) << row.name;
  std::int64_t biases = 0, pieces = 0;
  for (const auto& row : with.rows())
    if (row.role == Role::linear_bias || row.role == Role::norm_bias) biases += row.numel();
  EXPECT_EQ(without.count(), with.count() - biases);
  for (const auto& piece : with.published()) pieces += piece.name.ends_with(".bias") ? 1 : 0;
  EXPECT_EQ(static_cast<std::int64_t>(without.published().size()),
            static_cast<std::int64_t>(with.published().size()) - pieces);
}

TEST(ParameterTable, ATiedModelHasOneTableOfItsSymbolsWhichATokenIsMultipliedBy) {
  auto spec = makemoe();
  const ParameterTable apart(spec);
  spec.tied = true;
  const ParameterTable tied(spec);
  const std::int64_t table = 65 * 128;
  EXPECT_EQ(tied.count(), apart.count() - table);
  EXPECT_EQ(tied.count_multiplied(), apart.count_multiplied());
  EXPECT_EQ(tied.count_active(), apart.count_active() - 128) << "the row that is looked up";
  for (const auto& piece : tied.published()) EXPECT_NE(piece.name, "lm_head.weight");
  EXPECT_EQ(tied.rows()[0].second_name, "lm_head.weight");
}

TEST(ParameterTable, CountsThePublishedModel) {
  const ParameterTable table(makemoe());
  EXPECT_EQ(table.count(), 8996545);
  EXPECT_EQ(table.published().size(), 534U);
}

TEST(ParameterTable, CountsAsActiveWhatOneTokenReads) {
  const ParameterTable table(makemoe());
  EXPECT_EQ(table.count_active(), 2662209);
  // One row of each table is read, and nothing is multiplied by it.
  EXPECT_EQ(table.count_multiplied(), table.count_active() - 2 * 128);
}

TEST(ParameterTable, AGatedExpertHasThreeMatricesOfOneWidth) {
  auto spec = makemoe(1, /*bias=*/false);
  auto& mixture = spec.layers[0].feed_forward;
  mixture.activation = Activation::swiglu;
  mixture.width = 336;
  const ParameterTable gated(spec);
  mixture.activation = Activation::relu;
  const ParameterTable plain(spec);
  constexpr std::int64_t kMatrix = 336 * 128;
  EXPECT_EQ(gated.count() - plain.count(), 8 * kMatrix);
  EXPECT_EQ(gated.count_active() - plain.count_active(), 2 * kMatrix);
  for (const auto& piece : gated.published())
    if (piece.name == "blocks.0.smoe.experts.3.net.up.weight") {
      EXPECT_EQ(piece.piece, 7) << "after the gate of the same expert";
      EXPECT_THAT(gated.rows()[piece.row].shape, ElementsAre(8, 2, 336, 128));
    }
}

TEST(ParameterTable, SharedExpertsAreTheLastOfTheirStackAndEveryTokenReadsThem) {
  const ParameterTable without(makemoe(1)), with(with_shared(makemoe(1)));
  constexpr std::int64_t kExpert = 2 * 512 * 128 + 512 + 128, kGate = 128;
  EXPECT_EQ(with.count() - without.count(), 3 * kExpert + kGate);
  EXPECT_EQ(with.count_active() - without.count_active(), 3 * kExpert + kGate);
  EXPECT_EQ(with.count_multiplied() - without.count_multiplied(), 3 * kExpert + kGate);
  std::int64_t shared = 0;
  for (const auto& piece : with.published()) {
    if (piece.name == "blocks.0.smoe.shared_gate.weight") {
      EXPECT_THAT(with.rows()[piece.row].shape, ElementsAre(1, 128));
    }
    if (!piece.name.starts_with("blocks.0.smoe.shared.")) continue;
    ++shared;
    EXPECT_THAT(piece.piece, testing::AllOf(testing::Ge(8), testing::Le(10))) << piece.name;
    if (piece.name == "blocks.0.smoe.shared.2.net.2.weight") {
      EXPECT_EQ(piece.piece, 10);
    }
  }
  EXPECT_EQ(shared, 3 * 4);
}

class Pieces : public testing::TestWithParam<Activation> {};

TEST_P(Pieces, FillEachRowExactlyOnce) {
  auto spec = makemoe(2);
  for (auto& layer : spec.layers) layer.feed_forward.activation = GetParam();
  spec.layers[1] = with_shared(spec).layers[1];
  const ParameterTable table(spec);
  std::set<std::pair<std::size_t, std::int64_t>> seen;
  for (const auto& piece : table.published())
    EXPECT_TRUE(seen.emplace(piece.row, piece.piece).second) << piece.name;
  std::size_t pieces = 0;
  for (const auto& row : table.rows()) {
    EXPECT_EQ(row.numel() % row.piece_numel(), 0) << row.name;
    pieces += static_cast<std::size_t>(row.numel() / row.piece_numel());
  }
  EXPECT_EQ(seen.size(), pieces);
}

INSTANTIATE_TEST_SUITE_P(Experts, Pieces, testing::Values(Activation::relu, Activation::swiglu),
                         [](const auto& test_info) {
                           return test_info.param == Activation::relu ? "plain" : "gated";
                         });

TEST(ParameterTable, NamesHeadsAndExpertsAsPublished) {
  const ParameterTable table(makemoe(1));
  for (const auto& piece : table.published()) {
    const auto& row = table.rows()[piece.row];
    if (piece.name == "blocks.0.sa.heads.3.value.weight") {
      EXPECT_EQ(row.name, "blocks.0.sa.qkv");
      EXPECT_EQ(piece.piece, 2 * 8 + 3);
      EXPECT_THAT(row.piece_shape, ElementsAre(16, 128));
    }
    if (piece.name == "blocks.0.smoe.experts.7.net.2.weight") {
      EXPECT_EQ(row.name, "blocks.0.smoe.w2");
      EXPECT_EQ(piece.piece, 7);
      EXPECT_THAT(row.piece_shape, ElementsAre(128, 512));
      EXPECT_TRUE(row.is_residual);
      EXPECT_EQ(row.fan_in, 512);
    }
  }
}

TEST(ParameterTable, ARouterWithoutNoiseHasOneLinear) {
  auto spec = makemoe(1);
  spec.layers[0].feed_forward.router = RouterKind::topk;
  const ParameterTable table(spec);
  std::vector<std::string> routers;
  for (const auto& row : table.rows())
    if (row.name.find("router") != std::string::npos) routers.push_back(row.name);
  EXPECT_THAT(routers, ElementsAre("blocks.0.smoe.router.linear.weight",
                                   "blocks.0.smoe.router.linear.bias"));
}

TEST(ParameterTable, ACountBeyond64BitsIsRefused) {
  auto spec = makemoe();
  spec.width = std::int64_t{1} << 31;
  spec.layers[0].feed_forward.width = std::int64_t{1} << 33;
  EXPECT_THROW(ParameterTable(spec).count(), ConfigError);
}

TEST(ParameterTable, ALayerWithoutARouterHasSharedExpertsAlone) {
  auto spec = makemoe(1);
  auto& mlp = spec.layers[0].feed_forward;
  mlp.experts = mlp.top_k = 0;
  mlp.shared = 1;
  mlp.width = 1024;
  const ParameterTable table(spec);
  std::vector<std::string> names;
  for (const auto& piece : table.published())
    if (piece.name.find("smoe") != std::string::npos) names.push_back(piece.name);
  EXPECT_THAT(
      names,
      ElementsAre("blocks.0.smoe.shared.0.net.0.weight", "blocks.0.smoe.shared.0.net.0.bias",
                  "blocks.0.smoe.shared.0.net.2.weight", "blocks.0.smoe.shared.0.net.2.bias"));
  EXPECT_EQ(table.count_active(), table.count() - 64 * 128 - 31 * 128) << "rows of tables";
}

TEST(ExpertCapacity, IsTheEvenShareTimesTheFactorAndAtLeastOne) {
  auto spec = makemoe(1).layers[0].feed_forward;
  EXPECT_EQ(expert_capacity(spec, 512), -1) << "no limit";
  spec.capacity_factor = 1.25;
  EXPECT_EQ(expert_capacity(spec, 512), 160);
  EXPECT_EQ(expert_capacity(spec, 1), 1);
}

}  // namespace
}  // namespace moe
