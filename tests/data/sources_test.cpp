#include "moe/data/sources.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>

#include <filesystem>
#include <fstream>
#include <string>
#include <vector>

#include "moe/base/error.h"
#include "moe/base/sha256.h"
#include "tests/base/scratch.h"

namespace moe {
namespace {

namespace fs = std::filesystem;
using test::message_of;
using test::Scratch;
using testing::AllOf;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::StartsWith;

/// A folder of files, each of which holds its own name.
class FindSources : public testing::Test {
 protected:
  void make(const std::vector<std::string>& files) {
    for (const auto& name : files) {
      fs::create_directories((scratch / name).parent_path());
      std::ofstream(scratch / name) << name;
    }
  }
  /// What is found, each relative to the folder.
  std::vector<std::string> found(const std::vector<std::string>& names) {
    std::vector<std::string> full, out;
    for (const auto& name : names) full.push_back((scratch / name).string());
    for (const auto& path : find_sources(full))
      out.push_back(path.lexically_relative(scratch.path()).string());
    return out;
  }
  /// The message, without the folder's name.
  std::string refusal(const std::vector<std::string>& names) {
    auto message = message_of<DataError>([&] { found(names); });
    const auto folder = scratch.path().string() + "/";
    for (auto at = message.find(folder); at != std::string::npos; at = message.find(folder))
      message.erase(at, folder.size());
    return message;
  }
  Scratch scratch;
};

TEST_F(FindSources, NamedFilesKeepTheirOrderWhateverTheyAreCalled) {
  make({"b.md", "a.txt", ".hidden"});
  EXPECT_THAT(found({"b.md", "a.txt", ".hidden"}), ElementsAre("b.md", "a.txt", ".hidden"));
}

TEST_F(FindSources, AFolderIsAllTextsBelowItByTheBytesOfTheirPaths) {
  make({"t/b.txt", "t/a/z.txt", "t/a.txt", "t/a-b/c.txt", "t/B.txt", "t/note.md", "t/x.TXT",
        "t/.git/c.txt", "t/.d.txt"});
  EXPECT_THAT(found({"t"}),
              ElementsAre("t/B.txt", "t/a-b/c.txt", "t/a.txt", "t/a/z.txt", "t/b.txt"));
}

TEST_F(FindSources, APatternFindsNamesInEachPartOfThePath) {
  make({"t/1/a.md", "t/2/b.md", "t/2/c.rst", "t/3/.d.md"});
  EXPECT_THAT(found({"t/*/*.md"}), ElementsAre("t/1/a.md", "t/2/b.md"));
  EXPECT_THAT(found({"t/[13]/?.md"}), ElementsAre("t/1/a.md"));
  EXPECT_THAT(found({"t/3/.*.md"}), ElementsAre("t/3/.d.md"));
}

TEST_F(FindSources, TwoStarsAreAnyFoldersOnTheWay) {
  make({"t/a.md", "t/1/b.md", "t/1/2/c.md", "t/1/2/d.rst", "t/.x/e.md"});
  EXPECT_THAT(found({"t/**/*.md"}), ElementsAre("t/1/2/c.md", "t/1/b.md", "t/a.md"));
  EXPECT_THAT(found({"t/**/**/*.md"}), ElementsAre("t/1/2/c.md", "t/1/b.md", "t/a.md"));
  EXPECT_THAT(found({"**/2/*.md"}), ElementsAre("t/1/2/c.md"));
}

TEST_F(FindSources, AFolderThatAPatternFindsStandsForItsTexts) {
  make({"t/1/a.txt", "t/1/b.md", "t/2.txt"});
  EXPECT_THAT(found({"t/*"}), ElementsAre("t/1/a.txt", "t/2.txt"));
  EXPECT_THAT(found({"t/**"}), ElementsAre("t/1/a.txt", "t/2.txt"));
}

TEST_F(FindSources, APartThatExistsAsItIsWrittenIsNoPattern) {
  make({"[old]/a.txt", "[old]/b.txt", "o/a.txt", "w*.txt", "wide.txt"});
  EXPECT_THAT(found({"[old]/*.txt"}), ElementsAre("[old]/a.txt", "[old]/b.txt"));
  EXPECT_THAT(found({"w*.txt"}), ElementsAre("w*.txt"));
}

TEST_F(FindSources, LinksAreFollowed) {
  make({"far/a.txt", "t/b.txt"});
  fs::create_directory_symlink(scratch / "far", scratch / "t/far");
  fs::create_symlink(scratch / "t/b.txt", scratch / "link.txt");
  EXPECT_THAT(found({"t"}), ElementsAre("t/b.txt", "t/far/a.txt"));
  EXPECT_THAT(found({"link.txt"}), ElementsAre("link.txt"));
}

TEST_F(FindSources, WhatLeadsToNothingIsAnErrorThatSaysWhatToDo) {
  make({"t/a.md"});
  EXPECT_EQ(refusal({"absent.txt"}), "absent.txt: is not there; check the path");
  EXPECT_EQ(refusal({"*.txt"}), "*.txt: no file fits this pattern; check the path");
  EXPECT_THAT(refusal({"t"}), StartsWith("t: has no file *.txt in it or below it; name"));
  EXPECT_THAT(
      message_of<DataError>([] { find_sources(std::vector<std::string>{"no\x1b"}, "look"); }),
      AllOf(HasSubstr(": is not there; look"), Not(HasSubstr("\x1b"))));
  EXPECT_THAT(message_of<DataError>([] { find_sources(std::vector<std::string>{""}); }),
              HasSubstr("is not there"));
}

TEST_F(FindSources, AFileThatTwoNamesLeadToIsRefused) {
  make({"t/a.txt", "b.txt"});
  fs::create_symlink(scratch / "b.txt", scratch / "t/link.txt");
  fs::create_hard_link(scratch / "b.txt", scratch / "hard.txt");
  EXPECT_THAT(refusal({"b.txt", "b.txt"}), HasSubstr("b.txt: is the same file as b.txt"));
  EXPECT_THAT(refusal({"t", "t/a.txt"}), HasSubstr("t/a.txt: is the same file as t/a.txt"));
  EXPECT_THAT(refusal({"b.txt", "t"}), HasSubstr("t/link.txt: is the same file as b.txt"));
  EXPECT_THAT(refusal({"*.txt"}), HasSubstr("is the same file as"));
}

TEST_F(FindSources, LoopsOfLinksAreRefused) {
  make({"t/a.txt"});
  fs::create_directory_symlink("..", scratch / "t/up");
  EXPECT_THAT(refusal({"t"}), HasSubstr("leads back by a link to a folder that it lies in"));
  EXPECT_THAT(refusal({"**/*.txt"}), HasSubstr("leads back by a link"));
  fs::create_symlink("itself.txt", scratch / "itself.txt");
  EXPECT_THAT(refusal({"itself.txt"}), HasSubstr("cannot be looked at"));
}

TEST_F(FindSources, WhatIsFoundAndIsNoFileIsRefused) {
  make({"t/a.txt"});
  ASSERT_EQ(mkfifo((scratch / "t/pipe.txt").c_str(), 0600), 0);
  EXPECT_THAT(refusal({"t"}), HasSubstr("t/pipe.txt: is no regular file"));
  fs::remove(scratch / "t/pipe.txt");
  fs::create_symlink("gone", scratch / "t/gone.txt");
  EXPECT_THAT(refusal({"t"}), HasSubstr("t/gone.txt: is a link to nothing"));
}

TEST(JoinedSums, AreWhatTheShellMakesOfThemAndOfOneFileItsOwn) {
  const std::string a(64, 'a'), b(64, 'b');
  EXPECT_EQ(joined_sums(std::vector{a}), a);
  EXPECT_EQ(joined_sums(std::vector{a, b}), sha256_hex(a + "\n" + b + "\n"));
  EXPECT_NE(joined_sums(std::vector{a, b}), joined_sums(std::vector{b, a}));
}

TEST_F(FindSources, AStampTellsFilesAndTheirStatesApart) {
  make({"a", "b"});
  const auto before = stamp_of(scratch / "a");
  EXPECT_EQ(before, stamp_of(scratch / "a"));
  EXPECT_NE(before, stamp_of(scratch / "b"));
  std::ofstream(scratch / "a") << "longer than it was";
  EXPECT_NE(before, stamp_of(scratch / "a"));
  EXPECT_EQ(stamp_of(scratch / "absent"), FileStamp{});
}

}  // namespace
}  // namespace moe
