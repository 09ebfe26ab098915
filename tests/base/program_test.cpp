#include "moe/base/program.h"

#include <gtest/gtest.h>

namespace moe {
namespace {

struct ProgramTest : ::testing::Test {
  void TearDown() override { set_program("./makemoe"); }
};

TEST_F(ProgramTest, IsNamedByItsPathOnlyWhereItWasCalledByOne) {
  set_program("makemoe");
  EXPECT_EQ(program(), "makemoe");
  set_program("build/makemoe");
  EXPECT_EQ(program(), "build/makemoe");
  EXPECT_EQ(command_line({"train", "--resume", "--out", "runs/a b"}),
            "build/makemoe train --resume --out 'runs/a b'");
  set_program("/home/me/my programs/makemoe");
  EXPECT_EQ(command_line({"info"}), "'/home/me/my programs/makemoe' info");
}

TEST(ShellQuoted, LeavesPlainWordsAndQuotesTheRest) {
  for (const auto* plain : {"runs/a", "tracking.mlflow.uri=http://127.0.0.1:5000", "runs/a@best"})
    EXPECT_EQ(shell_quoted(plain), plain);
  EXPECT_EQ(shell_quoted(""), "''");
  EXPECT_EQ(shell_quoted("~/a"), "'~/a'");
  EXPECT_EQ(shell_quoted("it's $HOME"), "'it'\\''s $HOME'");
}

}  // namespace
}  // namespace moe
