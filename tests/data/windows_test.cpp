#include "moe/data/windows.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <limits>
#include <map>
#include <set>
#include <string>
#include <vector>

#include "moe/base/random.h"
#include "moe/base/text.h"
#include "tests/base/scratch.h"
#include "tests/data/count_to.h"

namespace moe {
namespace {

using test::count_to;
using test::message_of;
using testing::ElementsAre;
using testing::Ge;
using testing::HasSubstr;
using testing::SizeIs;

using Offsets = std::vector<std::int64_t>;

constexpr std::uint64_t kKey = 0x123456789ABCDEF;
constexpr std::int64_t kBlock = 8, kLength = 50;

const Tokens kTokens = count_to(kLength);

WindowSampler sampler_of(WindowOrder order, std::uint64_t key = kKey) {
  return {kTokens, kBlock, order, key};
}

/// As a checkpoint would bring it back.
Json saved(const WindowSampler& sampler) {
  return parse_json(json_text(sampler.state()), "state.json", ErrorKind::checkpoint);
}

TEST(GatherWindows, TargetsLieOneToTheRightOfInputsRowByRow) {
  const auto batch = gather_windows(count_to(20), Offsets{3, 0, 15}, 4);
  EXPECT_EQ(batch.batch_size, 3);
  EXPECT_EQ(batch.block_size, 4);
  EXPECT_THAT(batch.offsets, ElementsAre(3, 0, 15));
  EXPECT_THAT(batch.inputs, ElementsAre(3, 4, 5, 6, 0, 1, 2, 3, 15, 16, 17, 18));
  EXPECT_THAT(batch.targets, ElementsAre(4, 5, 6, 7, 1, 2, 3, 4, 16, 17, 18, 19));
}

std::string name_of(WindowOrder order) {
  return std::array{"random", "epoch", "sequential"}[static_cast<std::size_t>(order)];
}

class EachOrder : public testing::TestWithParam<WindowOrder> {};

TEST_P(EachOrder, ABatchHoldsWholeWindowsOfTheText) {
  auto sampler = sampler_of(GetParam());
  for (int i = 0; i < 100; ++i) {
    const auto batch = sampler.next(3);
    ASSERT_THAT(batch.offsets, SizeIs(3));
    const auto expected = gather_windows(kTokens, batch.offsets, kBlock);
    ASSERT_EQ(batch.inputs, expected.inputs);
    ASSERT_EQ(batch.targets, expected.targets);
    for (const auto offset : batch.offsets) ASSERT_TRUE(offset >= 0 && offset < kLength - kBlock);
  }
}

TEST_P(EachOrder, TheSizeOfTheBatchesChangesNothing) {
  auto one_by_one = sampler_of(GetParam()), at_once = sampler_of(GetParam());
  Offsets offsets;
  for (int i = 0; i < 60; ++i) offsets.push_back(one_by_one.next(1).offsets.front());
  EXPECT_EQ(at_once.next(60).offsets, offsets);
  EXPECT_TRUE(at_once.next(0).inputs.empty());
  EXPECT_EQ(at_once.next(5).offsets, one_by_one.next(5).offsets) << "taking none draws nothing";
}

TEST_P(EachOrder, AFreshSamplerGoesOnExactlyFromASavedCursorAtAnyPoint) {
  auto whole = sampler_of(GetParam());
  for (int drawn = 0; drawn < 40; ++drawn) {
    auto resumed = sampler_of(GetParam());
    resumed.restore(saved(whole));
    auto copy = whole;
    ASSERT_EQ(resumed.next(30).offsets, copy.next(30).offsets) << "after " << drawn;
    ASSERT_EQ(saved(resumed), saved(copy)) << "after " << drawn;
    whole.next(1);
  }
}

TEST(WindowSampler, AnotherKeyDrawsOthers) {
  for (const auto order : {WindowOrder::random, WindowOrder::epoch})
    EXPECT_NE(sampler_of(order, 1).next(20).offsets, sampler_of(order, 2).next(20).offsets);
}

TEST_P(EachOrder, AUsedSamplerForgetsWhereItWas) {
  auto whole = sampler_of(GetParam());
  for (int drawn = 1; drawn < 20; ++drawn) {
    whole.next(1);
    auto used = sampler_of(GetParam());
    used.next(23);
    used.restore(saved(whole));
    auto copy = whole;
    ASSERT_EQ(used.next(30).offsets, copy.next(30).offsets) << "after " << drawn;
  }
}

TEST_P(EachOrder, OneTokenFewerThanBlockSizePlusOneIsRefusedWithTheMinimum) {
  const auto short_text = count_to(kBlock), least = count_to(kBlock + 1);
  EXPECT_THAT(message_of<DataError>([&] { WindowSampler(short_text, kBlock, GetParam(), kKey); }),
              HasSubstr("has 8 symbols to train on; at least 9"));
  WindowSampler sampler(least, kBlock, GetParam(), kKey);
  EXPECT_EQ(sampler.next(20).offsets, Offsets(20, 0)) << "it has one window";
}

INSTANTIATE_TEST_SUITE_P(WindowSampler, EachOrder,
                         testing::Values(WindowOrder::random, WindowOrder::epoch,
                                         WindowOrder::sequential),
                         [](const auto& given) { return name_of(given.param); });

TEST(RandomOrder, DrawsEachOffsetBelowNMinusBlockSizeAboutEquallyOften) {
  std::map<std::int64_t, int> counts;
  for (const auto offset : sampler_of(WindowOrder::random).next(42'000).offsets) ++counts[offset];
  ASSERT_THAT(counts, SizeIs(kLength - kBlock));
  EXPECT_EQ(counts.rbegin()->first - counts.begin()->first, kLength - kBlock - 1);
  for (const auto& [offset, count] : counts)  // 1000 each; 5 standard deviations are 156
    EXPECT_TRUE(count > 844 && count < 1156) << offset << ": " << count;
}

struct Shape {
  std::int64_t length, block_size, batch_size;
};
class SequentialOrder : public testing::TestWithParam<Shape> {};

TEST_P(SequentialOrder, RowROfUpdateSTakesWindowSTimesBatchSizePlusRModuloTheirCount) {
  const auto& [n, block_size, batch_size] = GetParam();
  const auto tokens = count_to(n);
  WindowSampler sampler(tokens, block_size, WindowOrder::sequential, kKey);
  const auto windows = (n - 1) / block_size;
  for (std::int64_t s = 0; s < 3 * windows; ++s) {
    const auto batch = sampler.next(batch_size);
    for (std::int64_t r = 0; r < batch_size; ++r)
      ASSERT_EQ(batch.offsets[static_cast<std::size_t>(r)],
                (s * batch_size + r) % windows * block_size)
          << "update " << s << ", row " << r;
  }
}

INSTANTIATE_TEST_SUITE_P(CONTRACT, SequentialOrder,
                         testing::Values(Shape{50, 8, 4}, Shape{49, 8, 4}, Shape{48, 8, 4},
                                         Shape{9, 8, 3}, Shape{17, 8, 5}, Shape{100, 7, 1},
                                         Shape{30, 1, 16}),
                         [](const auto& given) {
                           return cat("n", given.param.length, "_block", given.param.block_size,
                                      "_batch", given.param.batch_size);
                         });

/// The offsets of each of the first `count` epochs, in the order in which they were handed out.
std::map<std::int64_t, Offsets> epochs(const Tokens& tokens, std::int64_t block_size,
                                       std::int64_t count) {
  WindowSampler sampler(tokens, block_size, WindowOrder::epoch, kKey);
  std::map<std::int64_t, Offsets> out;
  while (true) {
    const auto offset = sampler.next(1).offsets.front();
    const auto epoch = sampler.state().at("epoch").get<std::int64_t>();
    if (epoch >= count) return out;
    out[epoch].push_back(offset);
  }
}

/// Every whole window from `phase` on: its inputs and the target after them lie in the text.
Offsets windows_from(std::int64_t phase, std::int64_t n, std::int64_t block_size) {
  Offsets out;
  for (auto offset = phase; offset + block_size + 1 <= n; offset += block_size)
    out.push_back(offset);
  return out;
}

TEST(EpochOrder, HandsOutEachWholeWindowFromAPhaseBelowBlockSizeExactlyOnceAnEpoch) {
  for (const std::int64_t n : {50, 49, 48, 17, 24}) {
    std::set<std::int64_t> phases;
    for (auto& [epoch, offsets] : epochs(count_to(n), kBlock, 200)) {
      std::sort(offsets.begin(), offsets.end());
      ASSERT_LT(offsets.front(), kBlock);
      ASSERT_EQ(offsets, windows_from(offsets.front(), n, kBlock)) << n << ", epoch " << epoch;
      phases.insert(offsets.front());
    }
    EXPECT_THAT(phases, SizeIs(kBlock)) << "of 200 epochs each phase is some epoch's";
  }
}

TEST(EpochOrder, APhaseThatLeavesNoWholeWindowIsSkipped) {
  std::set<std::int64_t> phases;
  for (const auto& [epoch, offsets] : epochs(count_to(12), kBlock, 200)) {
    ASSERT_THAT(offsets, SizeIs(1));
    phases.insert(offsets.front());
  }
  EXPECT_THAT(phases, ElementsAre(0, 1, 2, 3));
}

TEST(EpochOrder, ShufflesEachEpochAnew) {
  std::set<Offsets> orders;
  std::set<std::int64_t> first;
  for (const auto& [epoch, offsets] : epochs(count_to(51), 1, 100)) {  // one phase, 50 windows
    EXPECT_FALSE(std::is_sorted(offsets.begin(), offsets.end())) << epoch;
    first.insert(offsets.front());
    orders.insert(offsets);
  }
  EXPECT_THAT(orders, SizeIs(100));
  EXPECT_THAT(first, SizeIs(Ge(30U))) << "any window may come first; 43 of 50 are expected";
}

/// Windows of one token, of which there are more than are listed.
class ManyWindows : public testing::Test {
 protected:
  WindowSampler sampler() const { return {tokens, 1, WindowOrder::epoch, kKey}; }
  static constexpr std::int64_t kWindows = WindowSampler::kMostListed + 100;
  const Tokens tokens = count_to(kWindows + 1);
};

TEST_F(ManyWindows, AreHandedOutOnceAnEpochToo) {
  auto one = sampler();
  auto first = one.next(kWindows).offsets, second = one.next(kWindows).offsets;
  EXPECT_NE(first, second);
  for (auto* epoch : {&first, &second}) {
    EXPECT_FALSE(std::is_sorted(epoch->begin(), epoch->end()));
    std::ranges::sort(*epoch);
    EXPECT_EQ(*epoch, windows_from(0, kWindows + 1, 1));
  }
}

TEST_F(ManyWindows, GoOnAfterAResume) {
  auto one = sampler();
  one.next(kWindows + 77);
  auto other = sampler();
  other.restore(saved(one));
  EXPECT_EQ(one.next(1000).offsets, other.next(1000).offsets);
}

/// The first epoch as every version has listed it: Fisher and Yates' shuffle.
Offsets listed_epoch(std::int64_t windows, std::int64_t block_size, std::int64_t n) {
  Generator generator(stream_key(kKey, "epoch", 0));
  const auto below = [&](std::int64_t bound) {
    return static_cast<std::int64_t>(generator.below(static_cast<std::uint64_t>(bound)));
  };
  auto out = windows_from(below(block_size), n, block_size);
  for (auto left = static_cast<std::int64_t>(out.size()); left > 1; --left)
    std::swap(out[static_cast<std::size_t>(left - 1)], out[static_cast<std::size_t>(below(left))]);
  out.resize(static_cast<std::size_t>(windows));
  return out;
}

// A run of before has "shuffle" in none of its states.
TEST_F(ManyWindows, OfAStateWithoutShuffleAreListedAsTheyWere) {
  auto one = sampler();
  one.restore({{"drawn", 0}, {"epoch", -1}, {"in_epoch", 0}});
  EXPECT_EQ(one.next(kWindows).offsets, listed_epoch(kWindows, 1, kWindows + 1));
  EXPECT_FALSE(one.state().contains("shuffle"));
}

TEST(EpochOrder, IsListedAsEveryVersionHasListedIt) {
  EXPECT_EQ(sampler_of(WindowOrder::epoch).next(5).offsets, listed_epoch(5, kBlock, kLength));
}

TEST_F(ManyWindows, FewerAreListedAndTheirStateIsAsItWas) {
  const auto few = count_to(WindowSampler::kMostListed + 1);
  const WindowSampler listed(few, 1, WindowOrder::epoch, kKey);
  EXPECT_FALSE(listed.state().contains("shuffle"));
  EXPECT_TRUE(sampler().state().contains("shuffle"));
  EXPECT_FALSE(WindowSampler(tokens, 1, WindowOrder::random, kKey).state().contains("shuffle"));
}

struct Cursor {
  const char *name, *state, *says;
};
class HostileCursor : public testing::TestWithParam<Cursor> {};

TEST_P(HostileCursor, IsRefusedAsACheckpointsFault) {
  auto sampler = sampler_of(WindowOrder::epoch);
  const auto state = parse_json(GetParam().state, "state.json", ErrorKind::checkpoint);
  try {
    sampler.restore(state);
    ADD_FAILURE() << "it was taken";
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), ErrorKind::checkpoint);
    EXPECT_THAT(error.what(), testing::StartsWith("state.json: "));
    EXPECT_THAT(error.what(), HasSubstr(GetParam().says));
    EXPECT_THAT(error.what(), HasSubstr("; resume from another checkpoint"));
  }
}

INSTANTIATE_TEST_SUITE_P(
    WindowSampler, HostileCursor,
    testing::Values(
        Cursor{"null", "null", "\"drawn\" is missing"}, Cursor{"array", "[1, 2, 3]", "missing"},
        Cursor{"empty", "{}", "\"drawn\" is missing"},
        Cursor{"no_epoch", R"({"drawn": 1, "in_epoch": 0})", "\"epoch\" is missing"},
        Cursor{"no_place", R"({"drawn": 1, "epoch": 0})", "\"in_epoch\" is missing"},
        Cursor{"negative", R"({"drawn": -1, "epoch": 0, "in_epoch": 0})", "is -1"},
        Cursor{"epoch_negative", R"({"drawn": 1, "epoch": -2, "in_epoch": 0})", "is -2"},
        Cursor{"place_negative", R"({"drawn": 1, "epoch": 0, "in_epoch": -1})", "is -1"},
        Cursor{"fraction", R"({"drawn": 1.5, "epoch": 0, "in_epoch": 0})", "no whole number"},
        Cursor{"text", R"({"drawn": 1, "epoch": "0", "in_epoch": 0})", "no whole number"},
        Cursor{"boolean", R"({"drawn": 1, "epoch": 0, "in_epoch": true})", "no whole number"},
        Cursor{"beyond_int64", R"({"drawn": 9223372036854775808, "epoch": 0, "in_epoch": 0})",
               "no whole number"},
        Cursor{"beyond_its_epoch", R"({"drawn": 1, "epoch": 0, "in_epoch": 7})", "beyond its"},
        Cursor{"far_beyond", R"({"drawn": 1, "epoch": 0, "in_epoch": 9223372036854775807})",
               "beyond its"},
        Cursor{"unknown_shuffle", R"({"drawn": 1, "epoch": 0, "in_epoch": 0, "shuffle": "x"})",
               "this version does not know"},
        Cursor{"no_shuffle", R"({"drawn": 1, "epoch": 0, "in_epoch": 0, "shuffle": null})",
               "this version does not know"},
        Cursor{"begun_without_an_epoch", R"({"drawn": 1, "epoch": -1, "in_epoch": 1})", "beyond"}),
    [](const auto& given) { return std::string(given.param.name); });

// Each of these failed when it was written.

// The old epoch's windows stayed where the saved cursor had begun no epoch.
TEST(WindowSampler, AUsedSamplerGoesBackToTheVeryBeginning) {
  for (const auto order : {WindowOrder::random, WindowOrder::epoch, WindowOrder::sequential}) {
    auto fresh = sampler_of(order), used = sampler_of(order);
    used.next(11);
    used.restore(saved(fresh));
    EXPECT_EQ(used.next(30).offsets, fresh.next(30).offsets) << name_of(order);
  }
}

// ++drawn_ and ++epoch_ overflowed and gave negative offsets: hence a process of its own.
TEST(WindowSampler, ACursorAtTheEndOfItsRangeIsRefusedOrGoesOnSoundly) {
  const auto most = std::numeric_limits<std::int64_t>::max();
  const auto outcome = [&](WindowOrder order, const Json& state) {
    auto sampler = sampler_of(order);
    try {
      sampler.restore(state);
    } catch (const Error&) {
      return 0;
    }
    for (const auto offset : sampler.next(20).offsets)
      if (offset < 0 || offset >= kLength - kBlock) return 1;
    return 0;
  };
  for (const auto order : {WindowOrder::random, WindowOrder::epoch, WindowOrder::sequential})
    for (const auto& [drawn, epoch] : {std::pair{most, std::int64_t{0}}, {std::int64_t{0}, most}})
      EXPECT_EXIT(std::_Exit(outcome(order, {{"drawn", drawn}, {"epoch", epoch}, {"in_epoch", 0}})),
                  testing::ExitedWithCode(0), "")
          << name_of(order) << ": " << drawn << ", " << epoch;
}

// It was the base class, which a catch of CheckpointError misses.
TEST(WindowSampler, ARefusalIsACheckpointError) {
  EXPECT_THROW(sampler_of(WindowOrder::random).restore(Json::object()), CheckpointError);
}

}  // namespace
}  // namespace moe
