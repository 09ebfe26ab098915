#include "report/plot.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <stack>
#include <string>

#include "report/heat_map.h"

namespace moe::report {
namespace {

using testing::HasSubstr;
using testing::Not;

constexpr double kNaN = std::numeric_limits<double>::quiet_NaN();

/// Every element is closed by its own end, and no value is "nan" or "inf".
void expect_well_formed(const std::string& xml) {
  std::stack<std::string> open;
  for (std::size_t at = xml.find('<'); at != std::string::npos; at = xml.find('<', at + 1)) {
    const auto end = xml.find('>', at);
    ASSERT_NE(end, std::string::npos);
    const auto tag = xml.substr(at + 1, end - at - 1);
    EXPECT_EQ(tag.find('<'), std::string::npos) << tag;
    const auto name = tag.substr(tag.starts_with("/") ? 1 : 0,
                                 tag.find_first_of(" /", 1) - (tag.starts_with("/") ? 1 : 0));
    if (tag.starts_with("/")) {
      ASSERT_FALSE(open.empty()) << tag;
      EXPECT_EQ("/" + open.top(), tag);
      open.pop();
    } else if (!tag.ends_with("/")) {
      open.push(name);
    }
  }
  EXPECT_TRUE(open.empty());
  EXPECT_THAT(xml, Not(HasSubstr("\"nan")));
  EXPECT_THAT(xml, Not(HasSubstr("inf\"")));
}

Plot plot_of(std::vector<PlotPoint> points) {
  Series series{"a <b>", std::move(points), 0};
  series.has_dots = true;
  return {"id", "Title & <more>", "Says \"it\"", {"step", false, true}, {"loss"}, {series}};
}

TEST(Plot, IsAnImageWithANameAndADescription) {
  const auto svg = draw(plot_of({{0, 4}, {10, 2}, {20, 3}})).html();
  expect_well_formed(svg);
  EXPECT_THAT(svg, HasSubstr("role=\"img\""));
  EXPECT_THAT(svg, HasSubstr("aria-labelledby=\"id-title id-desc\""));
  EXPECT_THAT(svg, HasSubstr("<desc id=\"id-desc\">Says &quot;it&quot;</desc>"));
  EXPECT_THAT(svg, HasSubstr("<title>a &lt;b&gt;: 10, 2</title>"));
}

TEST(Plot, OnePointManyPointsNoneAndHostileOnesAreDrawn) {
  std::vector<PlotPoint> many;
  for (int i = 0; i < 5000; ++i) many.push_back({static_cast<double>(i), std::sin(i)});
  for (const auto& points : std::vector<std::vector<PlotPoint>>{
           {}, {{1, 1}}, {{1, kNaN}}, {{0, 1e308}, {1, -1e308}}, {{-5, 0}, {1e18, 1}}, many})
    for (const bool is_log : {false, true}) {
      auto plot = plot_of(points);
      plot.x.is_log = is_log;
      plot.marks = {{{1, 1}, "best", 0, true}};
      const auto svg = draw(plot).html();
      expect_well_formed(svg);
      EXPECT_LT(svg.size(), 20000U);
    }
  EXPECT_THAT(draw(plot_of({})).html(), HasSubstr("Nothing to draw."));
}

TEST(Plot, LongNamesOfChoicesAreCutBetweenSymbols) {
  auto plot = plot_of({{0, 1}, {1, 2}});
  for (int i = 0; i < 30; ++i) plot.x.names.emplace_back(i, "ééééééééééééééé");
  const auto svg = draw(plot).html();
  expect_well_formed(svg);
  EXPECT_THAT(svg, HasSubstr("é…"));
  EXPECT_THAT(svg, Not(HasSubstr("\uFFFD")));
}

TEST(HeatMap, ShadesGoFromNoneToMostAndTheDeadStandOut) {
  EXPECT_EQ(shade_of(0.05, 0.5, 0.01), "h1");
  EXPECT_EQ(shade_of(0.5, 0.5, 0.01), "h9");
  EXPECT_EQ(shade_of(0, 0, -1), "h0");
  EXPECT_EQ(shade_of(0.001, 0.5, 0.01), "dead");
  EXPECT_EQ(shade_of(kNaN, 0.5, 0.01), "");
}

TEST(HeatMap, DrawsARectangleForEachValueAndNamesRowsAndColumns) {
  HeatMap map{
      "id", "Loads", "said", "step", {"0", "10"}, {"first", "second"}, {{0.1, 0.9}, {kNaN, 0.2}}};
  const auto svg = draw(map).html();
  expect_well_formed(svg);
  EXPECT_EQ(std::count(svg.begin(), svg.end(), 'z'), 3);  // each rectangle's path ends in z
  for (const auto* name : {">first<", ">second<", ">10<"}) EXPECT_THAT(svg, HasSubstr(name));
}

}  // namespace
}  // namespace moe::report
