#include "src/tracking/tensorboard.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <protozero/pbf_reader.hpp>
#include <string>
#include <vector>

#include "src/tracking/record.h"
#include "tests/tracking/run.h"

// The event files of a run. TensorBoard's own reader has its say in tests/e2e/tensorboard_test.py.

namespace moe::tracking {
namespace {

using test::content;
using test::names_in;
using test::ScratchRun;
using test::write;
using testing::Contains;
using testing::ElementsAre;
using testing::HasSubstr;

constexpr double kStartSeconds = 1763943600;

/// The payloads of the records, each held against its checksums.
std::vector<std::string> payloads(const fs::path& file) {
  std::vector<std::string> out;
  const auto bytes = content(file);
  for (std::size_t at = 0; at < bytes.size();) {
    std::uint64_t length = 0;
    std::memcpy(&length, bytes.data() + at, sizeof length);
    out.push_back(bytes.substr(at + 12, length));
    std::string again;
    append_record(again, out.back());
    EXPECT_EQ(bytes.substr(at, again.size()), again);
    at += again.size();
  }
  return out;
}

struct Scalar {
  double time;
  std::int64_t step;
  std::string tag;
  float value;
  bool operator==(const Scalar&) const = default;
};

std::vector<Scalar> scalars(const fs::path& file) {
  std::vector<Scalar> out;
  for (const auto& payload : payloads(file)) {
    Scalar scalar{};
    protozero::pbf_reader event(payload);
    while (event.next()) {
      if (event.tag() == 1) {
        scalar.time = event.get_double();
      } else if (event.tag() == 2) {
        scalar.step = event.get_int64();
      } else if (event.tag() == 5) {
        auto summary = event.get_message();
        while (summary.next(1)) {
          auto value = summary.get_message();
          bool is_scalar = false;
          while (value.next()) {
            if (value.tag() == 1) {
              scalar.tag = value.get_string();
            } else if (value.tag() == 2) {
              scalar.value = value.get_float();
              is_scalar = true;
            } else {
              value.skip();
            }
          }
          if (is_scalar) out.push_back(scalar);
        }
      } else {
        event.skip();
      }
    }
  }
  return out;
}

struct Watched {
  explicit Watched(const char* fault = nullptr)
      : files(fault != nullptr ? FaultPlan::parse(fault) : FaultPlan{}) {}
  TensorBoardSink open() { return {run.folder.path(), RunConfig{}, kStartSeconds, files, log}; }
  void train(TensorBoardSink& sink, std::int64_t first, std::int64_t last) {
    for (auto step = first; step <= last; ++step) {
      const auto x = static_cast<double>(step);
      run.folder.write({step, x, step, {{"lr", x / 2}, {"bad", NAN}}, {{"load", {0.5, 0.5}}}});
      sink.follow();
    }
  }
  std::vector<fs::path> event_files() const {
    std::vector<fs::path> out;
    for (const auto& name : names_in(run.folder.path()))
      if (name.starts_with("events.out.tfevents.")) out.push_back(run.folder.path() / name);
    return out;
  }
  std::vector<std::int64_t> steps() const {
    std::vector<std::int64_t> out;
    for (const auto& scalar : scalars(event_files().back())) out.push_back(scalar.step);
    return out;
  }
  ScratchRun run;
  FileLayer files;
  Log log;
};

TEST(TensorBoard, ARowsScalarsComeWithItsStepAndTime) {
  Watched watched;
  auto sink = watched.open();
  watched.train(sink, 1, 2);
  ASSERT_EQ(watched.event_files().size(), 1U);
  const auto file = watched.event_files()[0];
  EXPECT_EQ(file.filename(), "events.out.tfevents.1763943600.makemoe.0001");
  EXPECT_THAT(payloads(file)[0], HasSubstr("brain.Event:2"));
  EXPECT_THAT(scalars(file), ElementsAre(Scalar{kStartSeconds + 1, 1, "lr", 0.5F},
                                         Scalar{kStartSeconds + 2, 2, "lr", 1.0F}));
}

TEST(TensorBoard, AResumedRunHasOneFileWithTheRowsThatAreLeft) {
  Watched watched;
  {
    auto sink = watched.open();
    watched.train(sink, 1, 5);
  }
  write(watched.run.folder.path() / "events.out.tfevents.1.other", "x");
  watched.run.folder.cut_back_to(3);
  auto sink = watched.open();
  watched.train(sink, 4, 6);
  EXPECT_THAT(watched.steps(), ElementsAre(1, 2, 3, 4, 5, 6));
  EXPECT_THAT(names_in(watched.run.folder.path()),
              Contains("events.out.tfevents.1763943600.makemoe.0002"));
  EXPECT_EQ(watched.event_files().size(), 2U) << "ours and the one that is not ours";
}

TEST(TensorBoard, OneThatIsTurnedOnLateHasTheEarlierRowsToo) {
  Watched watched;
  for (int step = 1; step < 4; ++step) watched.run.folder.write({step, 0, 0, {{"lr", 1}}});
  auto sink = watched.open();
  watched.train(sink, 4, 4);
  EXPECT_THAT(watched.steps(), ElementsAre(1, 2, 3, 4));
}

TEST(TensorBoard, AFullDiskIsWarnedOfOnceAndTheFileIsMadeAnewAtTheEnd) {
  for (const auto* fault : {"ENOSPC@1", "short@2", "short@5", "short@6", "EIO@7"}) {
    Watched watched(fault);
    testing::internal::CaptureStderr();
    auto sink = watched.open();
    watched.train(sink, 1, 5);
    sink.end(5, true);
    EXPECT_THAT(testing::internal::GetCapturedStderr(),
                testing::ContainsRegex("^warning: [^\n]*training continues[^\n]*\n$"))
        << fault;
    EXPECT_THAT(watched.steps(), ElementsAre(1, 2, 3, 4, 5)) << fault;
  }
}

TEST(TensorBoard, ADiskThatStaysFullIsWarnedOfOnceAndNothingIsThrown) {
  Watched watched("ENOSPC@1+");
  testing::internal::CaptureStderr();
  auto sink = watched.open();
  watched.train(sink, 1, 5);
  sink.end(5, true);
  EXPECT_THAT(testing::internal::GetCapturedStderr(),
              testing::ContainsRegex("^warning: [^\n]*\n$"));
}

}  // namespace
}  // namespace moe::tracking
