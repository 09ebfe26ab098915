#include "moe/checkpoint/checkpoint.h"

#include <ATen/ATen.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>
#include <fstream>
#include <functional>
#include <limits>
#include <optional>
#include <set>

#include "moe/base/system.h"
#include "moe/config/load.h"
#include "moe/store/manifest.h"
#include "moe/store/safetensors.h"

namespace moe {
namespace {

using ::testing::HasSubstr;

RunConfig tiny_config() {
  RunConfig config;
  config.model.n_embed = 8;
  config.model.n_head = 2;
  config.model.n_layer = 1;
  config.model.block_size = 4;
  config.model.moe.num_experts = 2;
  return config;
}

/// A run folder of its own and a tiny model to put into it.
class Checkpoint : public ::testing::Test {
 protected:
  Checkpoint()
      : run(fs::temp_directory_path() / ("moe-ckpt-" + std::to_string(::getpid()))),
        flat(SparseMoELanguageModel(config.model, tokenizer.vocab_size())),
        optimizer(config.optim, flat.values()) {
    fs::remove_all(run);
    fs::create_directories(run);
    fill(1);
  }
  ~Checkpoint() override { fs::remove_all(run); }

  void fill(double scale) {
    const auto count = at::arange(flat.values().numel(), at::kFloat);
    flat.values().copy_(count * scale);
    optimizer.state("exp_avg").copy_(count * (scale * 0.5));
    optimizer.state("exp_avg_sq").copy_(count * (scale * 0.25));
    optimizer.steps = static_cast<std::int64_t>(scale);
  }

  void save(std::int64_t step, bool is_best = false, FaultPlan plan = {}) {
    FileLayer files(plan);
    if (is_best) best_step = step;
    const Json state{{"step", step}, {"best_step", best_step}};
    save_checkpoint(run, step, flat, optimizer, state, config, tokenizer, is_best, files);
  }

  void damage(const char* name) const { fs::resize_file(folder(name) / "state.json", 1); }
  std::vector<std::string> folders() const {
    std::vector<std::string> out;
    for (const auto& entry : fs::directory_iterator(run / "checkpoints"))
      if (entry.is_directory()) out.push_back(entry.path().filename().string());
    return out;
  }
  /// What a name means.
  CheckpointRef found(const std::string& name) const {
    std::vector<std::string> notices;
    return load_checkpoint(name, notices).ref;
  }

  fs::path folder(const char* name) const { return run / "checkpoints" / name; }

  std::string error_of(const std::function<void()>& action) {
    try {
      action();
    } catch (const Error& error) {
      EXPECT_EQ(error.kind(), ErrorKind::checkpoint);
      return error.what();
    }
    ADD_FAILURE() << "nothing was thrown";
    return "";
  }

  /// Whatever stands under a checkpoint's name is whole, and step 1 is among it.
  void expect_sound(const std::string& when) {
    for (const auto& entry : fs::directory_iterator(run / "checkpoints")) {
      if (!entry.path().filename().string().starts_with("step-")) continue;
      EXPECT_NO_THROW(verify_manifest(entry.path())) << when << " " << entry.path();
    }
    EXPECT_NO_THROW(found(run.string() + "@1")) << when;
    const auto newest = newest_sound(run);
    EXPECT_TRUE(newest && newest->passed_over.empty()) << when;
  }

  RunConfig config = tiny_config();
  CharTokenizer tokenizer = CharTokenizer::from_text("abc\n");
  std::int64_t best_step = -1;
  fs::path run;
  FlatParameters flat;
  Optimizer optimizer;
};

TEST_F(Checkpoint, RemembersTheRunsThatRowsOfTablesBelongTo) {
  auto tables = config;
  tables.model.ngram.orders = {2};
  const auto symbols = tokenizer.vocab_size();
  const Vocabulary own(symbols, {{2, {0, 1, 1, 0}}}), other(symbols, {{2, {0, 0, 1, 1}}});
  FlatParameters saved(SparseMoELanguageModel(tables.model, own));
  FlatParameters strange(SparseMoELanguageModel(tables.model, other));
  saved.values().fill_(1);
  const Optimizer moves(tables.optim, saved.values());
  FileLayer files;
  save_checkpoint(run, 3, saved, moves, {{"step", 3}, {"best_step", -1}}, tables, tokenizer,
                  /*is_best=*/false, files);
  const auto ref = list_checkpoints(run).front();
  EXPECT_EQ(read_checkpoint_info(ref).ngrams, own.ngrams);
  EXPECT_NO_THROW(load_weights(ref, saved));
  EXPECT_THROW(load_weights(ref, strange), CheckpointError);
}

TEST_F(Checkpoint, LoadsBitEqualToWhatWasSaved) {
  save(7);
  const auto values = flat.values().clone(), average = optimizer.state("exp_avg").clone();
  const auto square = optimizer.state("exp_avg_sq").clone();
  fill(3);
  const auto ref = found(run.string());
  const auto info = read_checkpoint_info(ref);
  load_weights(ref, flat);
  load_optimizer(ref, flat, optimizer);
  EXPECT_TRUE(flat.values().equal(values));
  EXPECT_TRUE(optimizer.state("exp_avg").equal(average));
  EXPECT_TRUE(optimizer.state("exp_avg_sq").equal(square));
  EXPECT_EQ(optimizer.steps, 1);
  EXPECT_EQ(info.ref.step, 7);
  EXPECT_EQ(info.tokenizer, Tokenizer(tokenizer));
  EXPECT_EQ(info.config.model.n_embed, 8);
}

/// What this process has had resident at most since the last call [bytes]; nothing where the
/// system does not tell.
std::optional<std::int64_t> peak_memory() {
  std::ifstream status("/proc/self/status");
  std::optional<std::int64_t> peak;
  for (std::string line; std::getline(status, line);)
    if (line.starts_with("VmHWM:")) peak = std::stoll(line.substr(6)) * 1024;
  const bool is_reset =
      static_cast<bool>(std::ofstream("/proc/self/clear_refs") << "5" << std::flush);
  return is_reset ? peak : std::nullopt;
}

TEST_F(Checkpoint, IsReadBackAndLoadedWithoutASecondCopyInMemory) {
  config.model.n_embed = 256;
  config.model.moe.num_experts = 8;
  FlatParameters large(SparseMoELanguageModel(config.model, tokenizer.vocab_size()));
  Optimizer moments(config.optim, large.values());
  large.values().fill_(1);
  moments.state("exp_avg").fill_(1);
  moments.state("exp_avg_sq").fill_(1);
  FileLayer files;
  save_checkpoint(run, 1, large, moments, Json{{"step", 1}}, config, tokenizer, false, files);
  const CheckpointRef ref{folder("step-00000001"), run, 1};
  if (!peak_memory()) GTEST_SKIP() << "the peak cannot be reset here";
  const auto before = resident_memory();
  read_checkpoint_info(ref);
  load_weights(ref, large);
  load_optimizer(ref, large, moments);
  const auto copy = static_cast<std::int64_t>(large.values().nbytes());
  EXPECT_LT(*peak_memory() - before, copy / 2) << "of " << copy << " bytes for each copy";
}

TEST_F(Checkpoint, WeightsBeyondEightGibibytesAreReadAsFarAsTheyAreWanted) {
  const auto path = run / "large.safetensors";
  constexpr std::int64_t kValues = std::int64_t{9} << 28U;  // 9 GiB, none of which is on the disk
  std::vector<TensorInfo> tensors{{"large", "F32", {kValues}, 0, 0}};
  const auto header = write_safetensors_header(tensors);
  std::ofstream(path, std::ios::binary) << header;
  fs::resize_file(path, header.size() + tensors[0].end);
  EXPECT_THAT(error_of([&] { import_weights(path, flat); }),
              HasSubstr("\"large\": the model has no such tensor"));
}

TEST_F(Checkpoint, FailureAtAnyOperationLeavesThePreviousOneAndNothingHalf) {
  save(1);
  bool failed = true;
  for (std::int64_t operation = 1; failed && operation < 100; ++operation) {
    for (const auto action : {FaultPlan::Action::fail, FaultPlan::Action::short_write}) {
      failed = false;
      try {
        save(2, true, {action, operation, ENOSPC, false});
      } catch (const ResourceError&) {
        failed = true;
      }
      expect_sound("operation " + std::to_string(operation));
      for (const auto& entry : fs::directory_iterator(run / "checkpoints"))
        EXPECT_FALSE(entry.path().filename().string().starts_with(".tmp-step")) << entry.path();
      if (action == FaultPlan::Action::fail && !failed) return;
    }
    failed = true;
  }
}

TEST_F(Checkpoint, CrashAtAnyOperationLeavesThePreviousOneAndNothingHalf) {
  save(1);
  for (std::int64_t operation = 1; operation < 100; ++operation) {
    const auto child = ::fork();
    if (child == 0) {
      save(2, true, {FaultPlan::Action::crash, operation, 0, false});
      ::_exit(0);
    }
    int status = 0;
    ASSERT_EQ(::waitpid(child, &status, 0), child);
    expect_sound("operation " + std::to_string(operation));
    if (WIFEXITED(status)) return;
  }
  FAIL() << "no save ended";
}

TEST_F(Checkpoint, AFlippedByteInAnyFileNamesTheFile) {
  save(1);
  for (const auto* name : {"model.safetensors", "optimizer.safetensors", "state.json",
                           "config.json", "tokenizer.json", "manifest.json"}) {
    const auto path = folder("step-00000001") / name;
    const auto whole = read_file(path, ErrorKind::checkpoint);
    for (std::size_t at = 0; at < whole.size(); at += 1 + whole.size() / 40) {
      auto bytes = whole;
      bytes[at] = static_cast<char>(bytes[at] ^ 0x04);
      std::ofstream(path, std::ios::binary) << bytes;
      EXPECT_THAT(error_of([&] { verify_manifest(path.parent_path()); }), HasSubstr(name)) << at;
    }
    std::ofstream(path, std::ios::binary) << whole;
  }
  EXPECT_NO_THROW(verify_manifest(folder("step-00000001")));
}

TEST_F(Checkpoint, AFlippedWeightNamesItsTensor) {
  save(1);
  const auto path = folder("step-00000001") / "model.safetensors";
  auto bytes = read_file(path, ErrorKind::checkpoint);
  bytes.back() = static_cast<char>(bytes.back() ^ 1);  // the last name in the file's order
  std::ofstream(path, std::ios::binary) << bytes;
  EXPECT_THAT(error_of([&] { verify_manifest(path.parent_path()); }),
              HasSubstr("\"token_embedding_table.weight\""));
}

TEST_F(Checkpoint, ATruncatedFileIsNamedAndResumeFallsBack) {
  save(1);
  save(2);
  const auto path = folder("step-00000002") / "optimizer.safetensors";
  const auto whole = read_file(path, ErrorKind::checkpoint);
  for (const auto size : {std::size_t{0}, std::size_t{7}, whole.size() / 2, whole.size() - 1}) {
    fs::resize_file(path, size);
    EXPECT_THAT(error_of([&] { found(run.string() + "@2"); }), HasSubstr("optimizer.safetensors"));
    const auto newest = newest_sound(run);
    EXPECT_EQ(newest->info.ref.step, 1);
    ASSERT_EQ(newest->passed_over.size(), 1U);
    EXPECT_THAT(newest->passed_over[0].why, HasSubstr("optimizer.safetensors"));
    std::ofstream(path, std::ios::binary) << whole;
  }
}

TEST_F(Checkpoint, ANewerFormatIsRefusedWithBothVersions) {
  std::ofstream(run / "manifest.json") << R"({"format_version": 99, "checksum": ""})";
  EXPECT_THAT(error_of([&] { verify_manifest(run); }),
              ::testing::AllOf(HasSubstr("99"), HasSubstr("up to 1")));
}

TEST_F(Checkpoint, PruningKeepsTheBestAndTheTwoNewest) {
  for (const std::int64_t step : {1, 2, 3, 4, 5}) save(step);
  FileLayer files;
  prune_checkpoints(run, 1, 2, files);
  EXPECT_THAT(folders(),
              ::testing::UnorderedElementsAre("step-00000002", "step-00000004", "step-00000005"));
}

TEST_F(Checkpoint, AnOldOneThatCanNotBeRemovedIsWarnedOfAndTriedAgain) {
  for (const std::int64_t step : {1, 2, 3, 4}) save(step);
  std::vector<std::string> warnings;
  FileLayer files(FaultPlan::parse("EPERM@renaming"),
                  [&](const std::string& text) { warnings.push_back(text); });
  EXPECT_NO_THROW(prune_checkpoints(run, 2, 4, files));
  EXPECT_EQ(warnings.size(), 1U) << "of two that stay";
  EXPECT_TRUE(fs::exists(folder("step-00000001")));
  FileLayer later;
  prune_checkpoints(run, 2, 4, later);
  EXPECT_FALSE(fs::exists(folder("step-00000001")));
}

TEST_F(Checkpoint, ALeftOverThatCanNotBeRemovedBlocksNoSave) {
  fs::create_directories(folder(".tmp-step-00000001") / "sub");
  save(1, false, FaultPlan::parse("EPERM@removing"));
  EXPECT_EQ(newest_sound(run)->info.ref.step, 1);
  save(1, false, FaultPlan::parse("EPERM@removing"));  // over itself
  EXPECT_EQ(newest_sound(run)->info.ref.step, 1);
}

TEST_F(Checkpoint, PruningCountsNeitherDamagedNorForeignOnesAndRemovesNoForeignOne) {
  for (const std::int64_t step : {1, 2, 3, 4, 5}) save(step);
  damage("step-00000004");
  std::ofstream(run / "config.json") << json_text(config_to_json(config));
  config.seed += 1;
  for (const std::int64_t step : {0, 6}) save(step);
  FileLayer files;
  std::set<std::int64_t> verified{5};
  prune_checkpoints(run, 2, -1, files, &verified);
  EXPECT_THAT(folders(),
              ::testing::UnorderedElementsAre("step-00000000", "step-00000003", "step-00000004",
                                              "step-00000005", "step-00000006"));
  EXPECT_THAT(verified, ::testing::ElementsAre(3, 5));
}

TEST_F(Checkpoint, WhatWasPassedOverIsKeptAsideUnderANameOfItsOwn) {
  FileLayer files;
  save(1);
  for (const auto* aside : {"damaged-step-00000002", "damaged-step-00000002-2"}) {
    save(2);
    damage("step-00000002");
    const auto newest = newest_sound(run);
    EXPECT_THAT(put_aside(newest->passed_over, files), ::testing::ElementsAre(HasSubstr(aside)));
    EXPECT_THAT(folders(), ::testing::Contains(aside));
    EXPECT_TRUE(newest_sound(run)->passed_over.empty());
  }
}

TEST_F(Checkpoint, WhatIsNoSoundOneOfTheRunMakesWayForTheStepThatIsSaved) {
  FileLayer files;
  save(1);
  save(2);
  EXPECT_THAT(make_way_for(run, 2, files), ::testing::IsEmpty()) << "the run's own is replaced";
  damage("step-00000002");
  EXPECT_THAT(make_way_for(run, 2, files),
              ::testing::ElementsAre(HasSubstr("damaged-step-00000002")));
  std::ofstream(run / "config.json") << json_text(config_to_json(config));
  config.seed += 1;
  save(2);
  EXPECT_THAT(make_way_for(run, 2, files),
              ::testing::ElementsAre(HasSubstr("foreign-step-00000002")));
  EXPECT_THAT(folders(), ::testing::UnorderedElementsAre("step-00000001", "damaged-step-00000002",
                                                         "foreign-step-00000002"));
}

TEST_F(Checkpoint, HintsAreCorrectedToWhatTheNewestSoundStateSays) {
  FileLayer files;
  save(1, true);
  save(2);
  const auto before = files.operations();
  correct_hints(newest_sound(run)->info, files);
  EXPECT_EQ(files.operations(), before) << "they were right";
  fs::remove(folder("best"));
  std::ofstream(folder("last")) << "step-00000009\n";
  correct_hints(newest_sound(run)->info, files);
  EXPECT_EQ(read_file(folder("best"), ErrorKind::data), "step-00000001\n");
  EXPECT_EQ(read_file(folder("last"), ErrorKind::data), "step-00000002\n");
}

TEST_F(Checkpoint, ExportedWeightsImportAgainWithTheirMasks) {
  const auto path = run / "w.safetensors";
  FileLayer files;
  const auto write = [&](Pieces pieces) { files.replace(path, pieces); };
  export_weights(flat, config.model, write);
  EXPECT_THAT(read_file(path, ErrorKind::checkpoint), HasSubstr("blocks.0.sa.heads.1.tril"));
  const auto values = flat.values().clone();
  fill(2);
  import_weights(path, flat);
  EXPECT_TRUE(flat.values().equal(values));
}

TEST_F(Checkpoint, AllDifferencesAreListedAndNothingChanges) {
  auto other = config.model;
  other.moe.num_experts = 3;
  FlatParameters larger(SparseMoELanguageModel(other, tokenizer.vocab_size()));
  larger.values().zero_();
  const auto path = run / "w.safetensors";
  FileLayer files;
  export_weights(larger, other, [&](Pieces pieces) { files.replace(path, pieces); });
  const auto values = flat.values().clone();
  const auto text = error_of([&] { import_weights(path, flat); });
  EXPECT_THAT(text, HasSubstr("blocks.0.smoe.experts.2.net.0.weight"));
  EXPECT_THAT(text, HasSubstr("blocks.0.smoe.router.noise_linear.bias\": shape (3)"));
  EXPECT_TRUE(flat.values().equal(values));
}

TEST_F(Checkpoint, NaNNamesItsTensorAndNothingChanges) {
  const auto head = flat.layout().back();
  flat.values()[head.offset] = std::numeric_limits<float>::quiet_NaN();
  save(1);
  fill(2);
  const auto values = flat.values().clone();
  EXPECT_THAT(error_of([&] { load_weights(found(run.string()), flat); }), HasSubstr(head.name));
  EXPECT_TRUE(flat.values().equal(values));
}

}  // namespace
}  // namespace moe
