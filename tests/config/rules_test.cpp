#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <string>
#include <vector>

#include "moe/config/load.h"
#include "tests/config/sample.h"

// The rules that tie several keys together, and those of a resumed run.

namespace moe {
namespace {

using test::config_refusal;
using test::every_key_changed;
using test::leaf;
using test::leaves;
using test::tree_with;
using test::unequal;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::UnorderedElementsAreArray;

using Overrides = std::vector<std::string>;

struct Rule {
  const char* name;
  Overrides overrides;
  const char* says;  // "" where all is sound
};
class RulesOfSeveralKeys : public testing::TestWithParam<Rule> {};

TEST_P(RulesOfSeveralKeys, AreKeptOrNamed) {
  const auto message = config_refusal([] { load_config({}, GetParam().overrides); });
  EXPECT_THAT(message, HasSubstr(GetParam().says));
  EXPECT_EQ(message.empty(), GetParam().says[0] == '\0') << message;
}

INSTANTIATE_TEST_SUITE_P(
    Config, RulesOfSeveralKeys,
    testing::Values(
        Rule{"heads_divide", {"model.n_embed=126", "model.n_head=7"}, ""},
        Rule{"heads_do_not",
             {"model.n_head=7"},
             "model.n_head: 7 does not divide model.n_embed 128"},
        Rule{"more_heads_than_width", {"model.n_head=256"}, "model.n_head: 256 does not divide"},
        Rule{"pairs_to_rotate", {"model.positions=rotary"}, ""},
        Rule{"no_pairs_to_rotate",
             {"model.positions=rotary", "model.n_embed=120"},
             "model.positions: rotary turns pairs of values, and model.n_embed 120 over "
             "model.n_head 8 is an odd 15"},
        Rule{"odd_heads_that_do_not_rotate", {"model.n_embed=120"}, ""},
        Rule{"convolution_over_the_context", {"model.short_conv=32"}, ""},
        Rule{"convolution_over_more",
             {"model.short_conv=33"},
             "model.short_conv: 33 positions are more than model.block_size 32"},
        Rule{"convolution_of_one_weight",
             {"model.short_conv=1"},
             "model.short_conv: 1 is a gain for each channel"},
        Rule{"runs_of_the_context", {"model.block_size=4", "model.ngram.orders=[2,4]"}, ""},
        Rule{"runs_of_more",
             {"model.block_size=4", "model.ngram.orders=[2,5]"},
             "model.ngram.orders: 5 symbols are more than model.block_size 4"},
        Rule{"runs_twice",
             {"model.ngram.orders=[3,2,3]"},
             "model.ngram.orders: 3 stands in the list twice"},
        Rule{"values_of_the_first_of_two", {"model.value_residual=true", "model.n_layer=2"}, ""},
        Rule{"values_of_the_only_block",
             {"model.value_residual=true", "model.n_layer=1"},
             "model.value_residual: there is no block behind the first"},
        Rule{"stride_of_a_window", {"eval.stride=32"}, ""},
        Rule{"stride_that_leaves_targets_out",
             {"eval.stride=33"},
             "eval.stride: 33 is more than model.block_size 32"},
        Rule{"all_experts", {"model.moe.top_k=8"}, ""},
        Rule{"more_than_all_experts",
             {"model.moe.top_k=9"},
             "9 is more than model.moe.num_experts 8"},
        Rule{"one_of_many", {"model.moe.top_k=1"}, "model.moe.top_k: with 1"},
        Rule{"one_of_one", {"model.moe.top_k=1", "model.moe.num_experts=1"}, ""},
        Rule{"one_of_many_softmax_first", {"model.moe.top_k=1", "model.moe.gate=softmax_topk"}, ""},
        Rule{"one_of_many_sigmoid",
             {"model.moe.top_k=1", "model.moe.gate=sigmoid"},
             "model.moe.top_k: with 1, a gate over its own sum is always the same"},
        Rule{"one_of_many_open_sigmoid",
             {"model.moe.top_k=1", "model.moe.gate=sigmoid", "model.moe.gate_norm=false"},
             ""},
        Rule{"open_softmax", {"model.moe.gate_norm=false"}, "model.moe.gate_norm: false is for"},
        Rule{
            "scaled_softmax", {"model.moe.gate_scale=2"}, "model.moe.gate_scale: 2 is for sigmoid"},
        Rule{"scaled_sigmoid", {"model.moe.gate_scale=2", "model.moe.gate=sigmoid"}, ""},
        Rule{"both_scopes",
             {R"(model.moe.balance=[{"kind":"switch"},{"kind":"switch","scope":"sequence"}])"},
             ""},
        Rule{"a_scope_twice",
             {R"(model.moe.balance=[{"kind":"switch"},{"kind":"switch","weight":1}])"},
             "model.moe.balance[1]: switch of this scope stands in the list twice; remove one"},
        Rule{"weight_of_a_bias",
             {R"(model.moe.balance={"kind":"loss_free","weight":1})"},
             "model.moe.balance[0].weight: loss_free does not read it; remove it"},
        Rule{"rate_of_a_loss",
             {R"(model.moe.balance={"kind":"switch","rate":0.1})"},
             "model.moe.balance[0].rate: switch does not read it; remove it"},
        Rule{"scope_of_a_load",
             {R"(model.moe.balance={"kind":"importance_load","scope":"sequence"})"},
             "model.moe.balance[0].scope: importance_load does not read it"},
        Rule{"load_of_noise", {"model.moe.balance.kind=importance_load"}, ""},
        Rule{"load_without_noise",
             {"model.moe.balance.kind=importance_load", "model.moe.router=topk"},
             "estimates loads by the router's noise"},
        Rule{"load_of_all_experts",
             {"model.moe.balance.kind=importance_load", "model.moe.top_k=8"},
             "needs an expert that is not chosen, and model.moe.top_k is 8 of 8"},
        Rule{"load_beside_a_bias",
             {R"(model.moe.balance=[{"kind":"importance_load"},{"kind":"loss_free"}])"},
             "supposes that the largest logits are chosen"},
        Rule{"hash_everywhere", {"model.moe.router=hash"}, ""},
        Rule{"hash_twice",
             {"model.moe.router=hash", "model.moe.hash_layers=[0]"},
             "model.moe.hash_layers: model.moe.router is \"hash\" in all layers; remove the list"},
        Rule{"hash_balanced",
             {"model.moe.router=hash", "model.moe.balance.kind=switch"},
             "no router chooses, so that nothing can be balanced"},
        Rule{"hash_beyond",
             {"model.moe.hash_layers=[0,8]"},
             "model.moe.hash_layers: there is no layer 8; give 0 to 7"},
        Rule{"hash_a_layer_twice",
             {"model.moe.hash_layers=[1,1]"},
             "model.moe.hash_layers: 1 stands in the list twice"},
        Rule{"gate_of_shared_experts",
             {"model.moe.shared_experts=1", "model.moe.shared_gate=true"},
             ""},
        Rule{"gate_of_no_shared_experts",
             {"model.moe.shared_gate=true"},
             "model.moe.shared_gate: there are no shared experts for it to weigh"},
        Rule{"a_dense_model", {"model.moe.num_experts=0", "model.moe.shared_experts=1"}, ""},
        Rule{"no_mlp",
             {"model.moe.num_experts=0"},
             "model.moe.num_experts: 0 leaves a block without any MLP"},
        Rule{"balance_of_no_router",
             {"model.moe.num_experts=0", "model.moe.shared_experts=1", "model.moe.z_loss=0.1"},
             "model.moe.z_loss: with model.moe.num_experts 0 there is no router for it"},
        Rule{
            "dense_layers_of_a_dense_model",
            {"model.moe.num_experts=0", "model.moe.shared_experts=1", "model.moe.dense_layers=[0]"},
            "model.moe.dense_layers: with model.moe.num_experts 0"},
        Rule{"dense_layers", {"model.moe.dense_layers=[0,7]", "model.moe.dense_width=9"}, ""},
        Rule{"dense_beyond",
             {"model.moe.dense_layers=[8]"},
             "model.moe.dense_layers: there is no layer 8; give 0 to 7"},
        Rule{"dense_a_layer_twice",
             {"model.moe.dense_layers=[1,1]"},
             "model.moe.dense_layers: 1 stands in the list twice"},
        Rule{"dense_and_hashed",
             {"model.moe.dense_layers=[0,1]", "model.moe.hash_layers=[1]"},
             "model.moe.dense_layers: layer 1 is in model.moe.hash_layers too"},
        Rule{"all_layers_dense",
             {"model.n_layer=2", "model.moe.dense_layers=[0,1]"},
             "model.moe.dense_layers: no layer is left for a mixture"},
        Rule{"width_of_no_layer",
             {"model.moe.dense_width=9"},
             "model.moe.dense_width: no layer is dense"},
        Rule{"a_device", {"device=cuda:12"}, ""},
        Rule{"no_device", {"device=tpu"}, "device: \"tpu\" is not a device"},
        Rule{"no_index", {"device=cuda:"}, "device: \"cuda:\""},
        Rule{"a_long_index", {"device=cuda:99999999999"}, "device: \"cuda:99999999999\""},
        Rule{"a_cpu_index", {"device=cpu:0"}, "device: \"cpu:0\""},
        Rule{"two_broken",
             {"model.n_head=7", "model.moe.top_k=9"},
             "divide model.n_embed 128; change either\nmodel.moe"},
        Rule{
            "long_warm_up", {"optim.schedule.warmup_iters=5001"}, "more than train.max_iters 5000"},
        Rule{"warm_up_to_the_end", {"optim.schedule.warmup_iters=5000"}, ""},
        Rule{"decay_that_turns_signs",
             {"optim.weight_decay=1000", "optim.learning_rate=0.01"},
             "optim.weight_decay: 1000 times the learning rate 0.01 is more than 1"},
        Rule{"decay_at_the_last_rate",
             {"optim.weight_decay=1000", "optim.schedule.final_learning_rate=1"},
             "turn the sign of every weight; lower either"},
        Rule{"strong_decay", {"optim.weight_decay=1000", "optim.learning_rate=0.001"}, ""},
        Rule{"a_groups_decay_that_turns_signs",
             {"optim.groups.head.weight_decay=500", "optim.groups.head.learning_rate_scale=3"},
             "optim.groups.head.weight_decay: 500 times the learning rate 0.003 is more than 1"},
        Rule{"a_groups_rate_with_the_optimizers_decay",
             {"optim.weight_decay=500", "optim.groups.norm.learning_rate_scale=3"},
             "optim.groups.norm.weight_decay: 500 times"},
        Rule{"a_group_without_decay",
             {"optim.weight_decay=500", "optim.groups.norm.learning_rate_scale=3",
              "optim.groups.norm.weight_decay=0"},
             ""},
        Rule{"a_groups_rate_beyond_floats",
             {"optim.learning_rate=1e30", "optim.groups.table.learning_rate_scale=2"},
             "optim.groups.table.learning_rate_scale: 2 times the learning rate 1e+30"},
        Rule{"muons_decay_that_turns_signs",
             {"optim.kind=muon", "optim.muon.weight_decay=100", "optim.muon.every=6"},
             "optim.muon.weight_decay: 100 times the learning rate 0.012 is more than 1"},
        Rule{"muons_decay_of_a_group",
             {"optim.kind=muon", "optim.groups.matrix.weight_decay=600"},
             "optim.groups.matrix.weight_decay: 600 times the learning rate 0.002 is"},
        Rule{"muons_rate_follows_the_last_one_of_adamw",
             {"optim.kind=muon", "optim.muon.weight_decay=100",
              "optim.schedule.final_learning_rate=0.006"},
             "optim.muon.weight_decay: 100 times the learning rate 0.012"},
        Rule{"muons_rate_beyond_floats",
             {"optim.kind=muon", "optim.muon.learning_rate=1e30", "optim.muon.every=2"},
             "optim.muon.learning_rate: is 2e+30 at the most for optim.groups.expert"},
        Rule{"muons_keys_without_muon", {"optim.muon.weight_decay=1000"}, ""},
        Rule{"a_rate_that_diverges", {"optim.learning_rate=1e30"}, ""},
        Rule{"more_tokens_than_are_counted",
             {"train.max_iters=1000000000000", "train.batch_size=1048576"},
             "train.max_iters: 1000000000000 updates of"},
        Rule{"many_tokens", {"train.max_iters=1000000000000"}, ""},
        Rule{"mlflow_server", {"tracking.mlflow.uri=http://[::1]:5000/a@b"}, ""},
        Rule{"mlflow_off", {"tracking.mlflow.uri=none"}, ""},
        Rule{"mlflow_file_store",
             {"tracking.mlflow.uri=sqlite:///a.db"},
             "\"sqlite:///a.db\" is no address of a server; give http://"},
        Rule{"mlflow_password", {"tracking.mlflow.uri=http://me:secret@h"}, "holds a user or"},
        Rule{"mlflow_no_experiment", {"tracking.mlflow.experiment="}, "is empty; give a name"}),
    [](const auto& given) { return std::string(given.param.name); });

// The paths are free since the texts are compared by their sha256 instead.
const std::vector<std::string> kMayChange{"device",
                                          "threads",
                                          "data.path",
                                          "data.val_path",
                                          "data.cache",
                                          "train.max_iters",
                                          "train.eval_interval",
                                          "train.capture",
                                          "train.checkpoint_interval",
                                          "train.keep_checkpoints",
                                          "train.early_stopping_patience",
                                          "train.log_interval",
                                          "train.sample_interval",
                                          "tracking.tensorboard",
                                          "tracking.mlflow.uri",
                                          "tracking.mlflow.experiment",
                                          "tracking.mlflow.run_name",
                                          "tracking.mlflow.artifacts",
                                          "tracking.mlflow.exit_wait"};

TEST(Config, AResumedRunMayDifferInTheseKeysOnlyAndEachOtherIsListed) {
  auto expected = leaves(config_to_json({}));
  std::erase_if(expected, [](const std::string& key) {
    return std::find(kMayChange.begin(), kMayChange.end(), key) != kMayChange.end();
  });
  std::vector<std::string> listed;
  for (const auto& line : resume_differences({}, every_key_changed()))
    listed.push_back(line.substr(0, line.find(": ")));
  EXPECT_THAT(listed, UnorderedElementsAreArray(expected));
  EXPECT_THAT(resume_differences(every_key_changed(), every_key_changed()), IsEmpty());
}

TEST(Config, ATextToValidateOnMayMoveOnResumeAndMayNotComeOrGo) {
  RunConfig without, here, there;
  for (auto* config : {&without, &here, &there}) config->data.path = "/t.txt";
  here.data.val_path = "/a/v.txt";
  there.data.val_path = "/b/v.txt";
  EXPECT_THAT(resume_differences(here, there), IsEmpty());
  EXPECT_THAT(resume_differences(without, here),
              ElementsAre("data.val_path: \"\" in the run, \"/a/v.txt\" now"));
  EXPECT_EQ(resume_differences(here, without).size(), 1U);
}

TEST(Config, ADifferenceOnResumeShowsBothValues) {
  const auto wanted = load_config({}, Overrides{"model.moe.capacity_factor=1.5", "threads=2"});
  EXPECT_THAT(resume_differences({}, wanted),
              ElementsAre("model.moe.capacity_factor: null in the run, 1.5 now"));
}

class ResumeMayChange : public testing::TestWithParam<std::string> {};

TEST_P(ResumeMayChange, ThisKeyAlone) {
  const auto value = leaf(config_to_json(every_key_changed()), GetParam());
  const auto wanted = config_from_json(tree_with(GetParam(), value), "c.json");
  EXPECT_THAT(unequal(wanted, {}), ElementsAre(GetParam()));
  EXPECT_THAT(resume_differences({}, wanted), IsEmpty());
}

INSTANTIATE_TEST_SUITE_P(Config, ResumeMayChange, testing::ValuesIn(kMayChange),
                         [](const auto& given) {
                           auto name = given.param;
                           std::replace(name.begin(), name.end(), '.', '_');
                           return name;
                         });

}  // namespace
}  // namespace moe
