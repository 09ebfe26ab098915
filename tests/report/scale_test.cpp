#include "report/scale.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>

namespace moe::report {
namespace {

using testing::ElementsAre;

constexpr double kNotANumber = std::numeric_limits<double>::quiet_NaN();
constexpr double kInfinity = std::numeric_limits<double>::infinity();

/// Each value within a billionth of itself.
auto near(const std::vector<double>& values) {
  std::vector<testing::Matcher<double>> each;
  for (const auto value : values)
    each.emplace_back(testing::DoubleNear(value, 1e-9 * std::abs(value)));
  return testing::ElementsAreArray(each);
}

Scale over(std::vector<double> values, bool is_log = false) {
  return scale_over(values, 0, 100, is_log);
}

TEST(Scale, MapsItsEndsToItsPixels) {
  const auto scale = over({2, 4, 3});
  EXPECT_EQ(scale.at(2), 0);
  EXPECT_EQ(scale.at(3), 50);
  EXPECT_EQ(scale.at(4), 100);
  EXPECT_NEAR(over({1e-4, 1e-2}, true).at(1e-3), 50, 1e-9);
}

TEST(Scale, TicksAreRoundAndWithinTheScale) {
  EXPECT_THAT(ticks(over({0, 1}), 5), near({0, 0.2, 0.4, 0.6, 0.8, 1}));
  EXPECT_THAT(ticks(over({-3, 4200}), 5), ElementsAre(0, 1000, 2000, 3000, 4000));
  EXPECT_THAT(ticks(over({0, 2}), 5, /*is_whole=*/true), ElementsAre(0, 1, 2));
  EXPECT_THAT(ticks(over({1e-5, 1e-1}, true), 5), near({1e-5, 1e-4, 1e-3, 1e-2, 1e-1}));
  EXPECT_THAT(ticks(over({3e-4, 3e-3}, true), 5), near({5e-4, 1e-3, 2e-3}));
}

TEST(Scale, NoValuesOneValueAndHostileOnesStillGiveAnAxis) {
  for (const auto& values : std::vector<std::vector<double>>{{},
                                                             {0},
                                                             {-2.5},
                                                             {7, 7},
                                                             {kNotANumber, 1},
                                                             {kInfinity, -kInfinity},
                                                             {1e308, -1e308},
                                                             {1e-320, 2e-320},
                                                             {1, 1 + 1e-15},
                                                             {-1e150, 1e150}})
    for (const bool is_log : {false, true}) {
      const auto scale = over(values, is_log);
      EXPECT_LT(scale.low, scale.high);
      const auto places = ticks(scale, 5);
      EXPECT_FALSE(places.empty());
      EXPECT_LT(places.size(), 40U);
      for (const auto value : {scale.low, scale.high, -1e300, 1e300, 0.0})
        EXPECT_TRUE(std::isfinite(scale.at(value)));
    }
}

TEST(Scale, NumbersAreShortAndSaySo) {
  EXPECT_EQ(short_number(12500), "12,500");
  EXPECT_EQ(short_number(0.0032), "0.0032");
  EXPECT_EQ(short_number(2.123456), "2.123");
  EXPECT_EQ(short_number(3e-5), "3e-05");
  EXPECT_EQ(short_number(kNotANumber), "not a number");
  EXPECT_EQ(px(1.0 / 3), "0.3");
  EXPECT_EQ(px(-0.01), "0");
}

TEST(Thinned, KeepsTheEndsTheLeastAndTheGreatest) {
  std::vector<PlotPoint> points;
  for (int i = 0; i < 5000; ++i) points.push_back({static_cast<double>(i), std::sin(i * 0.1)});
  points[1234].y = 9;
  points[4321].y = -9;
  const auto few = thinned(points, 50);
  EXPECT_LE(few.size(), 102U);
  const auto has = [&](const PlotPoint& wanted) {
    return std::any_of(few.begin(), few.end(), [&](const PlotPoint& point) {
      return point.x == wanted.x && point.y == wanted.y;
    });
  };
  for (const auto i : {0, 1234, 4321, 4999})
    EXPECT_TRUE(has(points[static_cast<std::size_t>(i)])) << i;
  EXPECT_TRUE(std::is_sorted(few.begin(), few.end(),
                             [](const PlotPoint& a, const PlotPoint& b) { return a.x < b.x; }));
}

TEST(Thinned, FewPointsStayAndWhatIsNotFiniteGoes) {
  const auto few = thinned({{2, 1}, {1, kNotANumber}, {0, 3}, {3, kInfinity}}, 50);
  ASSERT_EQ(few.size(), 2U);
  EXPECT_EQ(few[0].y, 3);
  EXPECT_EQ(few[1].y, 1);
}

TEST(Thinned, PointsAtOnePlaceDoNotHangIt) {
  EXPECT_LE(thinned(std::vector<PlotPoint>(1000, PlotPoint{5, 5}), 50).size(), 102U);
}

}  // namespace
}  // namespace moe::report
