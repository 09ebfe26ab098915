#include "moe/base/file_writer.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <fstream>
#include <string>

#include "tests/base/on_disk.h"

namespace moe {
namespace {

using test::bytes_in;
using test::listing;
using test::message_of;
using test::Scratch;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;

TEST(FileWriter, AFileIsThereOnceItIsCommitted) {
  const Scratch scratch;
  FileLayer files;
  {
    FileWriter writer(scratch / "f", files);
    writer.append("....");
    writer.append("end");
    writer.overwrite(1, "ab");
    EXPECT_FALSE(fs::exists(scratch / "f"));
    writer.commit();
  }
  EXPECT_EQ(bytes_in(scratch / "f"), ".ab.end");
  EXPECT_THAT(listing(scratch.path()), ElementsAre("f"));
}

TEST(FileWriter, WhatIsNotCommittedGoes) {
  const Scratch scratch;
  FileLayer files;
  { FileWriter(scratch / "f", files).append("x"); }
  EXPECT_THAT(listing(scratch.path()), IsEmpty());
}

TEST(FileWriter, ALinkStaysAndItsTargetIsReplaced) {
  const Scratch scratch;
  FileLayer files;
  std::ofstream(scratch / "far") << "old";
  fs::create_symlink("far", scratch / "f");
  FileWriter writer(scratch / "f", files);
  writer.append("new");
  writer.commit();
  EXPECT_TRUE(fs::is_symlink(scratch / "f"));
  EXPECT_EQ(bytes_in(scratch / "far"), "new");
}

TEST(FileWriter, LeftOversOfThisFileGoAndThoseOfOthersStay) {
  const Scratch scratch;
  FileLayer files;
  std::ofstream(scratch / ".tmp-f-0123abcd") << "left over";
  std::ofstream(scratch / ".tmp-g-0123abcd") << "of another";
  FileWriter other(scratch / "f", files);
  EXPECT_EQ(listing(scratch.path()).size(), 2U);
  EXPECT_TRUE(fs::exists(scratch / ".tmp-g-0123abcd"));
  FileWriter second(scratch / "f", files);
  EXPECT_EQ(listing(scratch.path()).size(), 3U) << "what is being written stays";
}

TEST(FileWriter, AFolderOrADeviceIsRefused) {
  const Scratch scratch;
  FileLayer files;
  EXPECT_THAT(message_of<ResourceError>([&] { FileWriter(scratch.path(), files); }),
              HasSubstr("is a folder, not a file"));
  EXPECT_THAT(message_of<ResourceError>([&] { FileWriter("/dev/null", files); }),
              HasSubstr("is a device"));
  EXPECT_THAT(message_of<ResourceError>([&] { FileWriter(scratch / "no/f", files); }),
              HasSubstr("creating"));
}

}  // namespace
}  // namespace moe
