#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include <array>
#include <atomic>
#include <string>
#include <thread>
#include <tuple>
#include <vector>

#include "moe/base/descriptor.h"
#include "moe/base/file.h"
#include "moe/base/text.h"
#include "tests/base/on_disk.h"

namespace moe {
namespace {

using test::bytes_in;
using test::has;
using test::listing;
using test::message_of;
using test::Scratch;
using test::status_of_child;
struct stat status_of(const fs::path& path) {
  struct stat status = {};
  EXPECT_EQ(lstat(path.c_str(), &status), 0) << path;
  return status;
}

/// A layer whose warnings are kept.
struct Told {
  explicit Told(std::string_view plan = {})
      : files(plan.empty() ? FaultPlan{} : FaultPlan::parse(plan),
              [this](const std::string& text) { warnings.push_back(text); }) {}
  std::vector<std::string> warnings;
  FileLayer files;
};

TEST(Output, APipeIsWrittenToAndStays) {
  const Scratch scratch;
  ASSERT_EQ(mkfifo((scratch / "pipe").c_str(), 0600), 0);
  const Descriptor reader(open((scratch / "pipe").c_str(), O_RDONLY | O_NONBLOCK));
  FileLayer().write_output(scratch / "pipe", "result");
  std::array<char, 20> got{};
  EXPECT_EQ(read(reader.get(), got.data(), got.size()), 6);
  EXPECT_TRUE(S_ISFIFO(status_of(scratch / "pipe").st_mode));
  EXPECT_EQ(listing(scratch.path()), std::vector<std::string>{"pipe"});
}

TEST(Output, ADeviceIsWrittenToAndStays) {
  const Scratch scratch;
  if (mknod((scratch / "null").c_str(), S_IFCHR | 0666, makedev(1, 3)) != 0)
    GTEST_SKIP() << "this user may not make devices";
  FileLayer().write_output(scratch / "null", "result");
  fs::create_symlink("null", scratch / "link");
  FileLayer().write_output(scratch / "link", "result");
  EXPECT_TRUE(S_ISCHR(status_of(scratch / "null").st_mode));
  EXPECT_TRUE(S_ISLNK(status_of(scratch / "link").st_mode));
  EXPECT_TRUE(has(message_of<ResourceError>([&] { FileLayer().replace(scratch / "null", "x"); }),
                  "null: is a device"))
      << "a file of a run is refused";
  ASSERT_EQ(mknod((scratch / "disk").c_str(), S_IFBLK | 0600, makedev(250, 250)), 0);
  EXPECT_TRUE(
      has(message_of<ResourceError>([&] { FileLayer().write_output(scratch / "disk", ""); }),
          "disk: is a disk"));
}

TEST(Output, AnOpenFileIsWrittenToWhereItStands) {
  const Scratch scratch;
  const Descriptor file(open((scratch / "f").c_str(), O_WRONLY | O_CREAT, 0600));
  ASSERT_EQ(write(file.get(), "before ", 7), 7);
  fs::create_symlink(cat("/proc/self/fd/", file.get()), scratch / "link");
  FileLayer().write_output(scratch / "link", "result ");
  FileLayer().write_output(cat("/dev/fd/", file.get()), "again");
  EXPECT_EQ(bytes_in(scratch / "f"), "before result again");
  EXPECT_EQ(descriptor_behind(scratch / "link"), file.get());
  EXPECT_EQ(descriptor_behind(scratch / "f"), std::nullopt);
  EXPECT_TRUE(S_ISLNK(status_of(scratch / "link").st_mode));
  EXPECT_TRUE(has(message_of<ResourceError>([&] { FileLayer().write_output("/dev/fd/987", "x"); }),
                  "Bad file descriptor"));
}

TEST(Output, ALinkStaysAndWhatItLeadsToIsReplacedWhole) {
  const Scratch scratch;
  fs::create_directory(scratch / "sub");
  FileLayer().replace(scratch / "sub/target", "old");
  fs::create_symlink("sub/middle", scratch / "link");
  fs::create_symlink("target", scratch / "sub/middle");
  FileLayer().write_output(scratch / "link", "new");
  EXPECT_EQ(bytes_in(scratch / "sub/target"), "new");
  EXPECT_EQ(listing(scratch.path()), (std::vector<std::string>{"link", "sub"}));
  EXPECT_EQ(listing(scratch / "sub"), (std::vector<std::string>{"middle", "target"}));
  for (const auto* link : {"link", "sub/middle"})
    EXPECT_TRUE(S_ISLNK(status_of(scratch / link).st_mode)) << link;
  fs::create_symlink("absent", scratch / "dangling");
  FileLayer().write_output(scratch / "dangling", "new");
  EXPECT_EQ(bytes_in(scratch / "absent"), "new");
  fs::create_symlink("loop", scratch / "loop");
  EXPECT_THROW(FileLayer().write_output(scratch / "loop", "x"), ResourceError);
}

TEST(Output, ModeAndOwnerOfAFileStayAndANewOneFollowsTheUmask) {
  const Scratch scratch;
  const auto before = umask(002);
  FileLayer().replace(scratch / "new", "x");
  FileLayer().append(scratch / "log", "x");
  umask(before);
  EXPECT_EQ(status_of(scratch / "new").st_mode & 0777U, 0664U);
  EXPECT_EQ(status_of(scratch / "log").st_mode & 0777U, 0664U);
  for (const auto mode : {0600U, 0640U, 0755U}) {
    ASSERT_EQ(chmod((scratch / "new").c_str(), mode), 0);
    FileLayer().replace(scratch / "new", "y");
    EXPECT_EQ(status_of(scratch / "new").st_mode & 0777U, mode);
  }
  if (chown((scratch / "new").c_str(), 12, 34) != 0) return;  // who may not give files away
  FileLayer().replace(scratch / "new", "z");
  EXPECT_EQ(status_of(scratch / "new").st_uid, 12U);
  EXPECT_EQ(status_of(scratch / "new").st_gid, 34U);
}

TEST(Output, AFileThatCanNotBeRenamedOverIsWrittenInPlaceWithAWarning) {
  for (const auto* plan : {"EBUSY@renaming", "EXDEV@renaming"}) {
    const Scratch scratch;
    FileLayer().replace(scratch / "f", "an older and longer text");
    const auto inode = status_of(scratch / "f").st_ino;
    Told told(plan);
    told.files.write_output(scratch / "f", "new");
    EXPECT_EQ(bytes_in(scratch / "f"), "new");
    EXPECT_EQ(status_of(scratch / "f").st_ino, inode);
    EXPECT_EQ(listing(scratch.path()), std::vector<std::string>{"f"});
    ASSERT_EQ(told.warnings.size(), 1U) << plan;
    EXPECT_TRUE(has(told.warnings[0], "written in place")) << told.warnings[0];
    EXPECT_THROW(told.files.replace(scratch / "f", "x"), ResourceError) << "a run's own files";
    EXPECT_THROW(told.files.write_output(scratch / "g", "x"), ResourceError) << "there is none";
  }
}

TEST(Output, ANameOfAnyLengthThatTheSystemTakesIsWritten) {
  const Scratch scratch;
  const std::string name(255, 'n');
  FileLayer().write_output(scratch / name, "x");
  EXPECT_EQ(listing(scratch.path()), std::vector<std::string>{name});
}

TEST(Output, ManyAtOnceReplaceOneFileAndEachStateOfItIsWhole) {
  const Scratch scratch;
  std::vector<std::thread> threads;
  for (int i = 0; i < 8; ++i)
    threads.emplace_back([&, i] {
      for (int round = 0; round < 10; ++round)
        FileLayer().write_output(scratch / "f", std::string(5000, static_cast<char>('a' + i)));
    });
  for (auto& thread : threads) thread.join();
  const auto text = bytes_in(scratch / "f");
  EXPECT_EQ(text, std::string(5000, text.front()));
  EXPECT_EQ(listing(scratch.path()), std::vector<std::string>{"f"});
}

TEST(Temporaries, ASweepTakesLeftOversButNoneThatALivingProcessWrites) {
  const Scratch scratch;
  for (const auto* name : {".tmp-report.html-0123abcd", ".tmp-old", "report.html"})
    FileLayer().append(scratch / name, "x");
  fs::create_directories(scratch / ".tmp-step-00000001-0123abcd/deep");
  const Descriptor writer(open((scratch / ".tmp-old").c_str(), O_RDWR));
  ASSERT_EQ(flock(writer.get(), LOCK_EX), 0);
  FileLayer().sweep_temporaries(scratch.path());
  EXPECT_EQ(listing(scratch.path()), (std::vector<std::string>{".tmp-old", "report.html"}));
}

TEST(Temporaries, WhatAKilledWriterLeftGoesWithTheNextOutputOfThatName) {
  const Scratch scratch;
  status_of_child([&] {
    FileLayer(FaultPlan::parse("crash@3")).write_output(scratch / "f", "x");
    return 0;
  });
  EXPECT_EQ(listing(scratch.path()).size(), 1U);
  FileLayer().append(scratch / ".tmp-f-of-others", "x");
  FileLayer().write_output(scratch / "f", "y");
  EXPECT_EQ(listing(scratch.path()), (std::vector<std::string>{".tmp-f-of-others", "f"}));
}

TEST(Tidying, WhatCanNotBeRemovedIsWarnedOfOnceAndStays) {
  const Scratch scratch;
  fs::create_directories(scratch / "a/b");
  FileLayer().append(scratch / ".tmp-c", "x");
  Told told("EPERM@removing");
  told.files.tidy(scratch / "a");
  told.files.sweep_temporaries(scratch.path());
  EXPECT_EQ(listing(scratch.path()).size(), 2U);
  ASSERT_EQ(told.warnings.size(), 1U);
  EXPECT_TRUE(has(told.warnings[0], "Operation not permitted")) << told.warnings[0];
  FileLayer().sweep_temporaries(scratch.path());
  EXPECT_EQ(listing(scratch.path()), std::vector<std::string>{}) << "later";
  fs::create_directory(scratch / "whole");
  Told stuck("EPERM@renaming");
  stuck.files.tidy(scratch / "whole");
  EXPECT_EQ(listing(scratch.path()), std::vector<std::string>{"whole"})
      << "never half of it under its name";
  EXPECT_EQ(stuck.warnings.size(), 1U);
}

TEST(Syncing, AFileSystemThatCanNotSyncFoldersIsWarnedOfOnce) {
  for (const auto* error : {"EINVAL", "ENOSYS", "EOPNOTSUPP"}) {
    const Scratch scratch;
    Told told(cat(error, "@fsync"));
    told.files.replace(scratch / "f", "x");
    told.files.replace(scratch / "f", "y");
    EXPECT_EQ(bytes_in(scratch / "f"), "y");
    ASSERT_EQ(told.warnings.size(), 1U) << error;
    EXPECT_TRUE(has(told.warnings[0], "folders cannot be synced here")) << told.warnings[0];
  }
  FileLayer broken(FaultPlan::parse("EIO@fsync"));
  EXPECT_THROW(broken.replace(Scratch() / "f", "x"), ResourceError) << "that is a broken disk";
}

TEST(NewFolder, OfManyThatWantOneNameOneGetsIt) {
  const Scratch scratch;
  std::atomic<int> made = 0;
  std::vector<std::thread> threads;
  for (int i = 0; i < 8; ++i)
    threads.emplace_back([&] { made += FileLayer().make_new_folder(scratch / "a/b/") ? 1 : 0; });
  for (auto& thread : threads) thread.join();
  EXPECT_EQ(made, 1);
  FileLayer().append(scratch / "file", "x");
  EXPECT_FALSE(FileLayer().make_new_folder(scratch / "file"));
  EXPECT_THROW(FileLayer().make_new_folder(scratch / "file/below"), ResourceError);
}

TEST(Output, WhatIsMadeWhileItIsWrittenAppearsWholeOrNotAtAll) {
  const ByteSource three = [](const ByteSink& sink) {
    for (const auto* piece : {"one ", "two ", "three"}) sink(piece);
  };
  const Scratch scratch;
  FileLayer().write_output(scratch / "out", three);
  EXPECT_EQ(bytes_in(scratch / "out"), "one two three");
  for (const auto* plan : {"short@1", "ENOSPC@1", "EIO@2", "EIO@3"}) {
    FileLayer().replace(scratch / "out", "old");
    EXPECT_THROW(Told(plan).files.write_output(scratch / "out", three), ResourceError) << plan;
    EXPECT_EQ(bytes_in(scratch / "out"), "old") << plan;
    EXPECT_EQ(listing(scratch.path()), std::vector<std::string>{"out"}) << plan;
  }
}

TEST(Output, WhatFailsWhileItIsMadeLeavesTheOldFile) {
  const Scratch scratch;
  FileLayer().replace(scratch / "out", "old");
  const ByteSource fails = [](const ByteSink& sink) {
    sink("new");
    throw CheckpointError("f: damaged; get it anew");
  };
  EXPECT_THROW(FileLayer().write_output(scratch / "out", fails), CheckpointError);
  EXPECT_EQ(bytes_in(scratch / "out"), "old");
  EXPECT_EQ(listing(scratch.path()), std::vector<std::string>{"out"});
}

}  // namespace
}  // namespace moe
