#include "moe/tracking/rows.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <fstream>
#include <string>
#include <vector>

#include "tests/tracking/run.h"

namespace moe {
namespace {

using test::Scratch;
using test::write;
using testing::ElementsAre;
using testing::Field;
using testing::IsEmpty;
using testing::Pair;
using testing::SizeIs;

std::vector<std::int64_t> steps(const std::vector<MetricRow>& rows) {
  std::vector<std::int64_t> out;
  for (const auto& row : rows) out.push_back(row.step);
  return out;
}

void append(const fs::path& path, const std::string& text) {
  std::ofstream(path, std::ios::app | std::ios::binary) << text;
}

TEST(Rows, WhatIsWrittenReadsBackWithItsVectors) {
  const MetricRow row{7, 1.5, 64, {{"val/loss", 0.1}, {"lr", 3}}, {{"moe/layer0/load", {0.25, 1}}}};
  EXPECT_EQ(json_text(row_to_json(row)),
            R"({"step":7,"time_s":1.5,"tokens":64,"val/loss":0.1,"lr":3.0,)"
            R"("moe/layer0/load":[0.25,1.0]})");
  const auto back = row_from_json(row_to_json(row));
  ASSERT_TRUE(back);
  EXPECT_EQ(row_to_json(*back), row_to_json(row));
  EXPECT_THAT(back->vectors, ElementsAre(Field(&MetricVector::values, ElementsAre(0.25, 1))));
}

TEST(Rows, AVectorWithAValueThatIsNotFiniteIsLeftOutWhole) {
  const MetricRow row{1, 0, 0, {{"a", NAN}}, {{"b", {1, NAN}}, {"c", {INFINITY}}, {"d", {2}}}};
  EXPECT_EQ(json_text(row_to_json(row)), R"({"step":1,"time_s":0.0,"tokens":0,"d":[2.0]})");
}

TEST(Rows, OnlyNumbersAndListsOfNumbersAreTaken) {
  const auto row = row_from_json(
      {{"step", 1}, {"a", "x"}, {"b", nullptr}, {"c", {1, "x"}}, {"d", true}, {"e", 2}});
  ASSERT_TRUE(row);
  EXPECT_THAT(row->values, ElementsAre(Pair("e", 2)));
  EXPECT_THAT(row->vectors, IsEmpty());
}

TEST(RowReader, GoesOnAsTheFileGrowsAndNeverTakesHalfALine) {
  const Scratch scratch;
  const auto file = scratch / "metrics.jsonl";
  RowReader reader(file);
  EXPECT_THAT(reader.next(), IsEmpty()) << "there is no file yet";
  write(file, "{\"step\":1,\"a\":1}\n{\"step\":2,\"a\"");
  EXPECT_THAT(steps(reader.next()), ElementsAre(1));
  EXPECT_THAT(reader.next(), IsEmpty());
  append(file, ":2}\n{\"step\":3}");
  const auto rows = reader.next();
  EXPECT_THAT(steps(rows), ElementsAre(2));
  EXPECT_THAT(rows[0].values, ElementsAre(Pair("a", 2)));
  append(file, "\n");
  EXPECT_THAT(steps(reader.next()), ElementsAre(3));
}

TEST(RowReader, PassesOverWhatIsNoRow) {
  const Scratch scratch;
  const auto file = scratch / "metrics.jsonl";
  write(file, "{\"step\":1}\nnonsense\n\n[1]\n{\"a\":1}\n{\"step\":\"2\"}\n\xFF\n{\"step\":3}\n" +
                  std::string(100'000, '[') + "\n{\"step\":4}\n");
  RowReader reader(file);
  EXPECT_THAT(steps(reader.next()), ElementsAre(1, 3, 4));
}

TEST(RowReader, ReadsAboutAsManyBytesAsAskedButNeverStopsAtLinesThatAreNoRows) {
  const Scratch scratch;
  const auto file = scratch / "metrics.jsonl";
  for (int i = 0; i < 10; ++i) append(file, "{\"step\":1}\n");  // 11 bytes each
  RowReader reader(file);
  EXPECT_THAT(reader.next(30), SizeIs(3));
  EXPECT_THAT(reader.next(), SizeIs(7));
  append(file, "nonsense\nnonsense\n{\"step\":2}\n");
  EXPECT_THAT(steps(reader.next(1)), ElementsAre(2));
  EXPECT_THAT(reader.next(1), IsEmpty());
}

}  // namespace
}  // namespace moe
