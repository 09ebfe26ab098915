// What a checkpoint holds of an optimizer.

#include <ATen/ATen.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <set>
#include <string>

#include "moe/base/file_reader.h"
#include "moe/checkpoint/checkpoint.h"
#include "tests/base/scratch.h"

namespace moe {
namespace {

using testing::HasSubstr;

/// A tiny model and one of its optimizers, and a folder to save them in.
struct Saved {
  explicit Saved(OptimizerKind kind) : Saved(of_kind(kind), 0) {}
  Saved(const RunConfig& run, std::int64_t averaged_steps)
      : config(run),
        flat(SparseMoELanguageModel(config.model, tokenizer.vocab_size())),
        optimizer(make()) {
    flat.values().copy_(at::arange(flat.values().numel(), at::kFloat));
    double value = 1;
    for (const auto& part : optimizer.state())
      part.values.copy_(at::arange(part.values.numel(), at::kFloat) * value++);
    optimizer.steps = 5;
    optimizer.averaged_steps = averaged_steps;
    FileLayer files;
    save_checkpoint(scratch.path(), 1, flat, optimizer, Json{{"step", 1}}, config, tokenizer,
                    /*is_best=*/false, files);
  }
  static RunConfig of_kind(OptimizerKind kind) {
    RunConfig config;
    config.model.n_embed = 8;
    config.model.n_head = 2;
    config.model.n_layer = 1;
    config.model.block_size = 4;
    config.model.moe.num_experts = 2;
    config.optim.kind = kind;
    return config;
  }
  Optimizer make() const {
    return {config.optim, plan_updates(config.optim, flat.table()), flat.values()};
  }
  CheckpointRef ref() const {
    return {scratch.path() / "checkpoints" / "step-00000001", scratch.path(), 1};
  }
  std::set<std::string> names() const {
    const FileReader file(ref().folder / "optimizer.safetensors", ErrorKind::checkpoint);
    std::set<std::string> names;
    for (const auto& tensor : read_safetensors(file, "").tensors) names.insert(tensor.name);
    return names;
  }

  test::Scratch scratch;
  RunConfig config;
  CharTokenizer tokenizer = CharTokenizer::from_text("abc\n");
  FlatParameters flat;
  Optimizer optimizer;
};

TEST(OptimizerFile, ReadsBackAsItWasSaved) {
  for (const auto kind : {OptimizerKind::adamw, OptimizerKind::muon}) {
    Saved saved(kind);
    auto loaded = saved.make();
    load_optimizer(saved.ref(), saved.flat, loaded);
    for (std::size_t i = 0; i < loaded.state().size(); ++i)
      EXPECT_TRUE(loaded.state()[i].values.equal(saved.optimizer.state()[i].values))
          << loaded.state()[i].name;
    EXPECT_EQ(loaded.steps, 5);
  }
}

TEST(OptimizerFile, HoldsWeightsToTrainOnBesideTheBlendedOnesOfTheModel) {
  RunConfig config = Saved::of_kind(OptimizerKind::muon);
  config.optim.average = {0, 10, 0.25};
  for (const std::int64_t averaged : {0, 3}) {
    SCOPED_TRACE(averaged);
    Saved saved(config, averaged);
    const auto trained = saved.flat.values().clone();
    auto blended = trained.clone();
    saved.optimizer.blend(blended);
    EXPECT_EQ(blended.equal(trained), averaged == 0);
    saved.flat.values().fill_(-1);
    load_weights(saved.ref(), saved.flat);
    EXPECT_TRUE(saved.flat.values().equal(blended)) << "to evaluate with";
    auto loaded = saved.make();
    load_optimizer(saved.ref(), saved.flat, loaded);
    EXPECT_TRUE(saved.flat.values().equal(trained)) << "to train on";
    EXPECT_TRUE(loaded.state("average").equal(saved.optimizer.state("average")));
    EXPECT_EQ(loaded.averaged_steps, averaged);
  }
}

TEST(OptimizerFile, HoldsOfEachParameterWhatItsUpdateReads) {
  const Saved saved(OptimizerKind::muon);
  std::set<std::string> expected{"step"};
  for (const auto& tensor : saved.flat.layout()) {
    const auto& row = saved.flat.table().rows()[tensor.row];
    if (row.role == Role::linear_weight &&
        (row.group == ParameterGroup::matrix || row.group == ParameterGroup::expert)) {
      expected.insert("momentum." + tensor.name);
    } else {
      expected.insert("exp_avg." + tensor.name);
      expected.insert("exp_avg_sq." + tensor.name);
    }
  }
  EXPECT_EQ(saved.names(), expected);
}

TEST(OptimizerFile, OfAnotherOptimizerIsRefusedAndLeavesAllAsItWas) {
  const Saved muon(OptimizerKind::muon);
  Saved adamw(OptimizerKind::adamw);
  auto optimizer = adamw.make();
  optimizer.state("exp_avg").fill_(3);
  try {
    load_optimizer(muon.ref(), adamw.flat, optimizer);
    FAIL() << "accepted";
  } catch (const CheckpointError& error) {
    EXPECT_THAT(error.what(), HasSubstr("\"exp_avg.blocks.0.sa.heads.0.key.weight\": missing"));
  }
  EXPECT_TRUE(optimizer.state("exp_avg").eq(3).all().item<bool>());
  EXPECT_EQ(optimizer.steps, 0);
}

}  // namespace
}  // namespace moe
