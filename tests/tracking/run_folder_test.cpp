#include "moe/tracking/run_folder.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <functional>
#include <string>
#include <vector>

#include "moe/base/system.h"
#include "moe/base/text.h"
#include "tests/tracking/run.h"

namespace moe {
namespace {

using test::content;
using test::message_of;
using test::names_in;
using test::Scratch;
using test::ScratchRun;
using test::steps_of;
using test::write;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::MatchesRegex;

TEST(RunFolder, ANewRunsFolderIsMadeWithItsParents) {
  const Scratch scratch;
  FileLayer files;
  const auto run = RunFolder::create(scratch / "runs/a/b", files);
  EXPECT_TRUE(fs::is_directory(scratch / "runs/a/b"));
  EXPECT_EQ(run.path(), scratch / "runs/a/b");
}

TEST(RunFolder, AnEmptyFolderAndOneWithAStaleLockAreTaken) {
  const Scratch scratch;
  FileLayer files;
  fs::create_directory(scratch / "run");
  { const auto run = RunFolder::create(scratch / "run", files); }
  write(scratch / "run/.lock", "pid 1 on elsewhere since 2020");
  EXPECT_NO_THROW(RunFolder::create(scratch / "run", files));
  EXPECT_TRUE(fs::is_directory(scratch / "run")) << "it was there before";
}

TEST(RunFolder, ARunningRunWithoutAProcessWasKilled) {
  const Scratch scratch;
  FileLayer files;
  const Json running = {{"status", "running"}}, stopped = {{"status", "stopped"}};
  {
    const auto run = RunFolder::create(scratch / "run", files);
    EXPECT_EQ(run_status(scratch / "run", running), "running");
  }
  EXPECT_EQ(run_status(scratch / "run", running), "killed");
  EXPECT_EQ(run_status(scratch / "run", stopped), "stopped");
  EXPECT_EQ(run_status(scratch / "run", {{"status", 3}}), "");
}

TEST(RunFolder, AnOccupiedFolderIsRefusedAndLeftAsItWas) {
  const Scratch scratch;
  FileLayer files;
  for (const auto* name : {"notes.txt", ".hidden", "config.json"}) {
    const auto folder = scratch / cat("with_", name);
    fs::create_directory(folder);
    write(folder / name, "x");
    const auto message = message_of<ResourceError>([&] { RunFolder::create(folder, files); });
    EXPECT_THAT(message, HasSubstr(folder.string() + ": already holds files; name another"));
    EXPECT_THAT(names_in(folder), ElementsAre(name));
  }
}

TEST(RunFolder, AFileIsNoRunFolder) {
  const Scratch scratch;
  FileLayer files;
  write(scratch / "f", "x");
  const auto message = message_of<ResourceError>([&] { RunFolder::create(scratch / "f", files); });
  EXPECT_THAT(message, HasSubstr("/f: is a file; name a folder"));
  for (const auto* name : {"f", "f/g", "none"})
    EXPECT_THROW(RunFolder::open(scratch / name, files), ResourceError) << name;
  EXPECT_THROW(RunFolder::create(scratch / "f/g", files), ResourceError);
  EXPECT_EQ(content(scratch / "f"), "x");
  EXPECT_THAT(names_in(scratch.path()), ElementsAre("f")) << "open makes nothing";
}

TEST(RunFolder, ANewFolderGoesAgainUnlessSomethingWasWritten) {
  const Scratch scratch;
  FileLayer files;
  { const auto run = RunFolder::create(scratch / "unused", files); }
  EXPECT_FALSE(fs::exists(scratch / "unused"));
  { RunFolder::create(scratch / "used", files).write_json("config.json", {{"seed", 1}}); }
  EXPECT_EQ(content(scratch / "used/config.json"), "{\n  \"seed\": 1\n}\n");
  { RunFolder::create(scratch / "measured", files).write({}); }
  EXPECT_THAT(steps_of(scratch / "measured/metrics.jsonl"), ElementsAre(0));
}

/// The message that `action` throws as a ResourceError in another process.
std::string refusal_in_a_child(const fs::path& note, const std::function<void()>& action) {
  const auto child = fork();
  if (child == 0) {
    write(note, message_of<ResourceError>(action));
    _exit(0);
  }
  waitpid(child, nullptr, 0);
  return content(note);
}

TEST(RunFolder, WhileOneHasItEachOtherIsToldItsPidHostAndStartTime) {
  const Scratch scratch;
  FileLayer files;
  const auto path = scratch / "run";
  const auto holder =
      cat(path.string(), ": in use by pid ", getpid(), " on ", host_name(), " since 20");
  const auto expect_named = [&](const std::string& message) {
    EXPECT_THAT(message, testing::StartsWith(holder));
    EXPECT_THAT(message, MatchesRegex(".* since 20[0-9]+-[0-9]+-[0-9]+T[0-9:]+Z; .*"));
  };
  {
    auto run = RunFolder::create(path, files);
    run.write_json("config.json", Json::object());
    for (const auto& start : {RunFolder::create, RunFolder::open}) {
      expect_named(message_of<ResourceError>([&] { start(path, files); }));
      expect_named(refusal_in_a_child(scratch / "note", [&] { start(path, files); }));
    }
  }
  EXPECT_EQ(refusal_in_a_child(scratch / "note", [&] { RunFolder::open(path, files); }), "");
  EXPECT_NO_THROW(RunFolder::open(path, files));
}

TEST(RunFolder, OpeningSweepsTemporariesOfTheRunAndItsCheckpointsOnly) {
  const Scratch scratch;
  FileLayer files;
  const auto run = scratch / "run";
  fs::create_directories(run / "checkpoints/.tmp-step-00000002/deep");
  fs::create_directories(run / "checkpoints/step-00000001");
  write(run / "checkpoints/.tmp-step-00000002/deep/f", "x");
  write(run / "checkpoints/last", "step-00000001");
  write(run / "checkpoints/.tmp-last", "x");
  write(run / ".tmp-config.json", "x");
  for (const auto* kept : {"config.json", "tmp-mine", "x.tmp-"}) write(run / kept, "x");
  RunFolder::open(run, files);
  EXPECT_THAT(names_in(run),
              ElementsAre(".lock", "checkpoints", "config.json", "tmp-mine", "x.tmp-"));
  EXPECT_THAT(names_in(run / "checkpoints"), ElementsAre("last", "step-00000001"));
}

TEST(RunFolder, JsonIsWrittenWholeOrNotAtAll) {
  const Scratch scratch;
  for (int operation = 1; operation <= 3; ++operation) {
    for (const auto* fault : {"EIO@", "short@"}) {
      FileLayer sound, faulty(FaultPlan::parse(cat(fault, operation)));
      const auto path = scratch / cat(fault, operation);
      { RunFolder::create(path, sound).write_json("config.json", "old"); }
      auto run = RunFolder::open(path, faulty);
      EXPECT_THROW(run.write_json("config.json", "new"), ResourceError) << fault << operation;
      EXPECT_EQ(content(path / "config.json"), "\"old\"\n");
      EXPECT_THAT(names_in(path), ElementsAre(".lock", "config.json"));
    }
  }
}

TEST(RunFolder, RunJsonReadsBack) {
  ScratchRun run;
  run.folder.write_json("run.json", {{"status", "finished"}});
  EXPECT_EQ(run.folder.read_run_json(), Json({{"status", "finished"}}));
}

// Each of these failed when it was written.

// read_json threw the base class, which a catch of ResourceError misses.
TEST(RunFolder, ARunJsonThatDoesNotReadIsAnEmptyObject) {
  ScratchRun run;
  EXPECT_EQ(run.folder.read_run_json(), Json::object()) << "there is none";
  for (const auto* text : {"", "{", "[1]", "7", "{\"a\": NaN}"}) {
    write(run.folder.path() / "run.json", text);
    EXPECT_EQ(run.folder.read_run_json(), Json::object()) << text;
  }
}

// It was a filesystem_error, which main reports as a bug.
TEST(RunFolder, APathThatTheSystemRefusesIsAResourceError) {
  const Scratch scratch;
  FileLayer files;
  fs::create_symlink("loop", scratch / "loop");
  for (const auto& path : {scratch / std::string(300, 'a'), scratch / "loop"}) {
    EXPECT_THROW(RunFolder::create(path, files), ResourceError) << path;
    EXPECT_THROW(RunFolder::open(path, files), ResourceError) << path;
  }
}

}  // namespace
}  // namespace moe
