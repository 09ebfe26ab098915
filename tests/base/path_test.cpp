#include "moe/base/path.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <string>

#include "moe/base/file.h"
#include "tests/base/on_disk.h"

namespace moe {
namespace {

using test::message_of;
using test::Scratch;
using test::status_of_child;

TEST(Path, NothingThereAndCanNotBeToldAreTwoAnswers) {
  const Scratch scratch;
  FileLayer().append(scratch / "file", "x");
  fs::create_symlink("loop", scratch / "loop");
  fs::create_symlink("absent", scratch / "dangling");
  EXPECT_TRUE(is_file(scratch / "file", ErrorKind::data));
  EXPECT_TRUE(is_folder(scratch.path(), ErrorKind::data));
  for (const auto* absent : {"none", "none/deeper", "file/below", "dangling"})
    EXPECT_FALSE(is_there(scratch / absent, ErrorKind::data)) << absent;
  EXPECT_TRUE(entries_of(scratch / "none", ErrorKind::data).empty());
  for (const auto& path : {scratch / "loop", scratch / std::string(300, 'a')}) {
    EXPECT_THROW(is_there(path, ErrorKind::data), DataError) << path;
    EXPECT_THROW(entries_of(path, ErrorKind::checkpoint), CheckpointError) << path;
  }
}

TEST(Path, AFolderThatMayNotBeReadIsNotTakenForAnEmptyOne) {
  const Scratch scratch;
  fs::permissions(scratch.path(), fs::perms::owner_all | fs::perms::others_exec);
  fs::create_directories(scratch / "secret/run");
  fs::permissions(scratch / "secret", fs::perms::none);
  const int status = status_of_child([&] {
    if (getuid() == 0 && setuid(65534) != 0) return 9;
    const auto look =
        message_of<ResourceError>([&] { is_there(scratch / "secret/run", ErrorKind::resource); });
    const auto list =
        message_of<ResourceError>([&] { entries_of(scratch / "secret", ErrorKind::resource); });
    const std::string reason = "cannot be looked at: Permission denied; ";
    return look.find(reason) != std::string::npos && list.find(reason) != std::string::npos ? 0 : 1;
  });
  fs::permissions(scratch / "secret", fs::perms::owner_all);
  EXPECT_EQ(status, 0);
}

TEST(Path, AFreshVolumeIsNotOccupied) {
  const Scratch scratch;
  EXPECT_FALSE(is_occupied(scratch.path()));
  for (const auto* name : {"lost+found", ".Trash-1000", "System Volume Information", ".lock"})
    fs::create_directory(scratch / name);
  EXPECT_TRUE(is_occupied(scratch.path()));
  EXPECT_FALSE(is_occupied(scratch.path(), ".lock"));
  for (const auto* name : {".Trash-", ".Trash-me", "found", ".hidden"}) {
    fs::create_directory(scratch / name);
    EXPECT_TRUE(is_occupied(scratch.path(), ".lock")) << name;
    fs::remove(scratch / name);
  }
}

TEST(Path, WithoutACurrentFolderARelativeNameIsRefused) {
  const Scratch scratch;
  fs::create_directory(scratch / "gone");
  const int status = status_of_child([&] {
    fs::current_path(scratch / "gone");
    fs::remove(scratch / "gone");
    const auto message = message_of<ResourceError>([] { absolute_path("text.txt"); });
    return message.find("the current folder: cannot be told: ") == 0 &&
                   absolute_path("/a/../b") == "/b"
               ? 0
               : 1;
  });
  EXPECT_EQ(status, 0);
}

}  // namespace
}  // namespace moe
