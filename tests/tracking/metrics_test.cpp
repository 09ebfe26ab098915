#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <bit>
#include <cmath>
#include <fstream>
#include <limits>
#include <string>
#include <vector>

#include "moe/base/random.h"
#include "moe/tracking/run_folder.h"
#include "tests/tracking/run.h"

// metrics.jsonl and samples.jsonl of a run folder.

namespace moe {
namespace {

using test::content;
using test::rows_of;
using test::ScratchRun;
using test::steps_of;
using test::write;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::MatchesRegex;
using testing::SizeIs;

constexpr auto kMost = std::numeric_limits<std::int64_t>::max();

TEST(Metrics, ARowIsOneFlatObjectOnALine) {
  ScratchRun run;
  run.folder.write({7, 1.5, 3584, {{"val/loss", 2.25}, {"train/loss", 2.0}}});
  run.folder.write({8, 2.0, 4096, {}});
  EXPECT_EQ(content(run.metrics()),
            "{\"step\":7,\"time_s\":1.5,\"tokens\":3584,\"val/loss\":2.25,\"train/loss\":2.0}\n"
            "{\"step\":8,\"time_s\":2.0,\"tokens\":4096}\n");
}

TEST(Metrics, EveryFiniteNumberReadsBackExactly) {
  ScratchRun run;
  std::vector<double> values{0.0,  -0.0,       5e-324, 0.1, 1.0 / 3, 1.7976931348623157e308,
                             1e22, 123456789.0};
  Generator random(3);
  while (values.size() < 2000)
    if (const auto value = std::bit_cast<double>(random.bits()); std::isfinite(value))
      values.push_back(value);
  for (const auto value : values) run.folder.write({kMost, std::abs(value), kMost, {{"x", value}}});
  const auto rows = rows_of(run.metrics());
  ASSERT_THAT(rows, SizeIs(values.size()));
  for (std::size_t i = 0; i < rows.size(); ++i) {
    const auto bits = [](double value) { return std::bit_cast<std::uint64_t>(value); };
    ASSERT_EQ(bits(rows[i].at("x").get<double>()), bits(values[i])) << values[i];
    ASSERT_EQ(bits(rows[i].at("time_s").get<double>()), bits(std::abs(values[i])));
    ASSERT_EQ(rows[i].at("step").get<std::int64_t>(), kMost);
    ASSERT_EQ(rows[i].at("tokens").get<std::int64_t>(), kMost);
  }
}

TEST(Metrics, NanAndInfinityAreLeftOutAndTheRestOfTheRowStays) {
  ScratchRun run;
  const auto infinity = std::numeric_limits<double>::infinity();
  run.folder.write(
      {3, 0, 9, {{"a", NAN}, {"b", 1.0}, {"c", infinity}, {"d", -infinity}, {"e", 2.0}}});
  EXPECT_EQ(content(run.metrics()),
            "{\"step\":3,\"time_s\":0.0,\"tokens\":9,\"b\":1.0,\"e\":2.0}\n");
}

TEST(Metrics, FailingAppendsWarnOnceNeverThrowAndLeaveWholeLines) {
  ScratchRun run("short@3+");
  run.folder.write({1, 0, 0, {}});
  testing::internal::CaptureStderr();
  for (int step = 2; step < 6; ++step) {
    EXPECT_NO_THROW(run.folder.write({step, 0, 0, {}}));
    EXPECT_NO_THROW(run.folder.write_sample({{"step", step}}));
  }
  const auto said = testing::internal::GetCapturedStderr();
  EXPECT_THAT(said, MatchesRegex("warning: [^\n]*metrics.jsonl: [^\n]*No space left[^\n]*\n"));
  EXPECT_THAT(steps_of(run.metrics()), ElementsAre(1));
}

TEST(Metrics, ARowThatFoundNoRoomGoesBeforeTheNextOrWhenAsked) {
  ScratchRun run("EIO@3");
  testing::internal::CaptureStderr();
  for (int step = 1; step < 3; ++step) run.folder.write({step, 0, 0, {}});
  EXPECT_THAT(testing::internal::GetCapturedStderr(), HasSubstr("Input/output error"));
  EXPECT_THAT(steps_of(run.metrics()), ElementsAre(1));
  run.folder.write({3, 0, 0, {}});
  EXPECT_THAT(steps_of(run.metrics()), ElementsAre(1, 2, 3));

  ScratchRun other("EIO@2");
  testing::internal::CaptureStderr();
  other.folder.write_sample({{"step", 1}});
  EXPECT_THAT(testing::internal::GetCapturedStderr(), HasSubstr("Input/output error"));
  other.folder.catch_up();
  other.folder.catch_up();
  EXPECT_THAT(steps_of(other.samples()), ElementsAre(1)) << "once";
}

struct Cut {
  const char* name;
  const char* before;
  std::int64_t step;
  const char* after;
};
class CutBack : public testing::TestWithParam<Cut> {};

TEST_P(CutBack, LeavesTheWholeRowsUpToTheStepInBothFiles) {
  ScratchRun run;
  write(run.metrics(), GetParam().before);
  write(run.samples(), GetParam().before);
  for (int twice = 0; twice < 2; ++twice) {
    run.folder.cut_back_to(GetParam().step);
    EXPECT_EQ(content(run.metrics()), GetParam().after);
    EXPECT_EQ(content(run.samples()), GetParam().after);
  }
}

INSTANTIATE_TEST_SUITE_P(
    Metrics, CutBack,
    testing::Values(
        Cut{"empty", "", 5, ""},
        Cut{"nothing_later", "{\"step\":4}\n{\"step\":5}\n", 5, "{\"step\":4}\n{\"step\":5}\n"},
        Cut{"later_steps", "{\"step\":4}\n{\"step\":5}\n{\"step\":6}\n{\"step\":7}\n", 5,
            "{\"step\":4}\n{\"step\":5}\n"},
        Cut{"all_later", "{\"step\":1}\n", 0, ""},
        Cut{"step_0_stays", "{\"step\":0}\n{\"step\":1}\n", 0, "{\"step\":0}\n"},
        Cut{"two_rows_of_a_step", "{\"step\":5,\"a\":1}\n{\"step\":5,\"b\":1}\n{\"step\":6}\n", 5,
            "{\"step\":5,\"a\":1}\n{\"step\":5,\"b\":1}\n"},
        Cut{"torn_last_line", "{\"step\":4}\n{\"step\":5,\"tr", 5, "{\"step\":4}\n"},
        Cut{"last_line_without_its_end", "{\"step\":4}\n{\"step\":5}", 5, "{\"step\":4}\n"},
        Cut{"only_a_torn_line", "{\"st", 5, ""},
        Cut{"garbage_line", "{\"step\":4}\nnonsense\n", 5, "{\"step\":4}\n"},
        Cut{"control_bytes_line", "{\"step\":4}\n\x01\x01\x01\n", 5, "{\"step\":4}\n"},
        Cut{"blank_line", "{\"step\":4}\n\n", 5, "{\"step\":4}\n"},
        Cut{"array_line", "{\"step\":4}\n[5]\n", 5, "{\"step\":4}\n"},
        Cut{"null_line", "{\"step\":4}\nnull\n", 5, "{\"step\":4}\n"},
        Cut{"row_without_step", "{\"step\":4}\n{\"x\":5}\n", 5, "{\"step\":4}\n"},
        Cut{"step_as_text", "{\"step\":4}\n{\"step\":\"5\"}\n", 5, "{\"step\":4}\n"},
        Cut{"step_with_fraction", "{\"step\":4}\n{\"step\":4.5}\n", 5, "{\"step\":4}\n"},
        Cut{"step_of_int64_max", "{\"step\":4}\n{\"step\":9223372036854775807}\n", 5,
            "{\"step\":4}\n"}),
    [](const auto& given) { return std::string(given.param.name); });

TEST(Metrics, AfterGarbageNothingButRowsUpToTheStepIsLeft) {
  for (const std::string garbage : {"nonsense", "\xFF\xFE", "{\"step\":", "{\"step\":99}"}) {
    ScratchRun run;
    write(run.metrics(), "{\"step\":1}\n" + garbage + "\n{\"step\":2}\n");
    run.folder.cut_back_to(5);
    const auto steps = steps_of(run.metrics());
    EXPECT_THAT(steps, testing::Contains(1)) << "what stands before it stays";
    EXPECT_THAT(steps, testing::Each(testing::Le(5))) << garbage;
  }
}

TEST(Metrics, CuttingBackWhereNothingIsThereOrNothingGoesTouchesNoFile) {
  ScratchRun run;
  run.folder.cut_back_to(3);
  EXPECT_FALSE(fs::exists(run.metrics()));
  run.folder.write({3, 0, 0, {}});
  const auto before = run.files.operations();
  run.folder.cut_back_to(3);
  EXPECT_EQ(run.files.operations(), before);
}

TEST(Metrics, AfterCutAndResumeNoStepAppearsTwice) {
  ScratchRun run;
  for (int step = 0; step <= 9; ++step) run.folder.write({step, 0, 0, {{"x", 0.5}}});
  { std::ofstream(run.metrics(), std::ios::app) << "{\"step\":10,\"ti"; }
  run.folder.cut_back_to(6);
  for (int step = 7; step <= 9; ++step) run.folder.write({step, 0, 0, {{"x", 0.5}}});
  EXPECT_THAT(steps_of(run.metrics()), ElementsAre(0, 1, 2, 3, 4, 5, 6, 7, 8, 9));
}

// Failed when it was written: all that stood behind a bad line was cut off.
TEST(Metrics, BadLinesAreKeptAsideAndTheRowsBehindThemStay) {
  ScratchRun run;
  for (const auto& file : {run.metrics(), run.samples()})
    write(file, "{\"step\":1}\nnonsense\n{\"step\":9}\n{\"step\":2}\n\x01\n{\"step\":3}\n{\"st");
  EXPECT_THAT(run.folder.cut_back_to(2),
              ElementsAre(HasSubstr("metrics.jsonl: 2 lines are no rows; they are kept aside in "
                                    "metrics.jsonl.bad"),
                          HasSubstr("samples.jsonl.bad")));
  for (const auto& file : {run.metrics(), run.samples()}) {
    EXPECT_EQ(content(file), "{\"step\":1}\n{\"step\":2}\n");
    EXPECT_EQ(content(file.string() + ".bad"), "nonsense\n\x01\n");
  }
  EXPECT_THAT(run.folder.cut_back_to(2), testing::IsEmpty()) << "once";
}

TEST(Metrics, OfAStepThatIsEvaluatedAgainTheEvaluationGoes) {
  ScratchRun run;
  const std::string before = "{\"step\":1,\"val/loss\":3}\n{\"step\":2,\"lr\":1}\n";
  write(run.metrics(), before + "{\"step\":2,\"val/loss\":3}\n");
  run.folder.cut_back_to(2, /*evaluated=*/false);
  EXPECT_EQ(content(run.metrics()), before);
}

// Failed when it was written: the number was read as -1.
TEST(Metrics, AStepBeyondInt64IsALaterOne) {
  ScratchRun run;
  write(run.metrics(), "{\"step\":4}\n{\"step\":18446744073709551615}\n");
  run.folder.cut_back_to(5);
  EXPECT_EQ(content(run.metrics()), "{\"step\":4}\n");
}

}  // namespace
}  // namespace moe
