#include "report/plot.h"

#include <algorithm>

#include "moe/base/text.h"

namespace moe::report {

namespace {

constexpr double kMarginRight = 24, kMarginTop = 12, kMarginBottom = 44, kTickLength = 4;  // [px]
constexpr double kLetter = 6.6;        // width of one [px]
constexpr std::size_t kBuckets = 240;  // of a curve: two points each
constexpr std::size_t kMostDots = 60;  // beyond it a curve's own dots are a band

std::string colour_class(int colour) {
  return colour < kColours ? cat("c", colour) : std::string("grey");
}

std::string tick_text(const Axis& axis, double value) {
  for (const auto& [place, name] : axis.names)
    if (place == value) return name;
  return short_number(value, 6);
}

struct Frame {
  Scale x, y;
  std::vector<double> x_ticks, y_ticks;
};

std::vector<double> tick_places(const Axis& axis, const Scale& scale, int wanted) {
  if (axis.names.empty()) return ticks(scale, wanted, axis.is_whole);
  std::vector<double> out;
  for (const auto& [place, name] : axis.names) out.push_back(place);
  return out;
}

/// Round ends, so that curves do not touch the frame.
void widen(Scale& scale) {
  if (scale.is_log) return;
  const auto room = (scale.high - scale.low) * 0.05;
  scale.low -= room;
  scale.high += room;
}

double left_of(const Axis& axis, const std::vector<double>& places) {
  std::size_t longest = 2;
  for (const auto place : places) longest = std::max(longest, tick_text(axis, place).size());
  return 30 + kLetter * static_cast<double>(longest);
}

Frame frame_of(const Plot& plot) {
  std::vector<double> xs, ys;
  for (const auto& series : plot.series)
    for (const auto& point : series.points) {
      xs.push_back(point.x);
      ys.push_back(point.y);
    }
  for (const auto& [place, name] : plot.x.names) {
    xs.push_back(place - 0.5);
    xs.push_back(place + 0.5);
  }
  Frame out;
  out.y = scale_over(ys, plot.height - kMarginBottom, kMarginTop, plot.y.is_log);
  widen(out.y);
  out.y_ticks = tick_places(plot.y, out.y, static_cast<int>(plot.height / 52));
  out.x = scale_over(xs, left_of(plot.y, out.y_ticks), plot.width - kMarginRight, plot.x.is_log);
  out.x_ticks = tick_places(plot.x, out.x, static_cast<int>(plot.width / 95));
  return out;
}

Markup line(const char* classes, double x1, double y1, double x2, double y2) {
  return shape(
      "line", {{"class", classes}, {"x1", px(x1)}, {"y1", px(y1)}, {"x2", px(x2)}, {"y2", px(y2)}});
}

Markup label(const char* classes, const char* anchor, double x, double y, std::string_view words) {
  return element("text", {{"class", classes}, {"text-anchor", anchor}, {"x", px(x)}, {"y", px(y)}},
                 words);
}

/// Names that would run into one another are cut.
std::string fitting(const std::string& name, double room) {
  auto most = std::max<std::size_t>(3, static_cast<std::size_t>(room / kLetter));
  if (name.size() <= most) return name;
  while (most > 1 && (static_cast<unsigned char>(name[most - 1]) & 0xC0U) == 0x80U) --most;
  return name.substr(0, most - 1) + "…";
}

Markup axes(const Plot& plot, const Frame& frame) {
  Markup out;
  for (const auto tick : frame.y_ticks) {
    const auto y = frame.y.at(tick);
    out += line("grid", frame.x.begin, y, frame.x.end, y);
    out += label("tick", "end", frame.x.begin - 6, y + 4, tick_text(plot.y, tick));
  }
  const auto floor = frame.y.begin;
  const auto room = (frame.x.end - frame.x.begin) / static_cast<double>(frame.x_ticks.size());
  for (const auto tick : frame.x_ticks) {
    const auto x = frame.x.at(tick);
    out += line("axis", x, floor, x, floor + kTickLength);
    out += label("tick", "middle", x, floor + 17, fitting(tick_text(plot.x, tick), room));
  }
  out += line("axis", frame.x.begin, floor, frame.x.end, floor);
  out += label("name", "middle", (frame.x.begin + frame.x.end) / 2, plot.height - 8, plot.x.label);
  const auto middle = px((frame.y.begin + frame.y.end) / 2);
  return out + element("text",
                       {{"class", "name"},
                        {"text-anchor", "middle"},
                        {"transform", cat("translate(14 ", middle, ") rotate(-90)")}},
                       plot.y.label);
}

Markup dots(const Plot& plot, const Series& series, const std::vector<PlotPoint>& points,
            const Frame& frame) {
  Markup out;
  for (const auto& point : points)
    out += element("circle",
                   {{"cx", px(frame.x.at(point.x))},
                    {"cy", px(frame.y.at(point.y))},
                    {"r", series.has_line ? "2.5" : "3.5"}},
                   element("title", {}, series.name, ": ", tick_text(plot.x, point.x), ", ",
                           short_number(point.y, 6)));
  return element(
      "g", {{"class", colour_class(series.colour) + (series.is_faint ? " dots hollow" : " dots")}},
      out);
}

Markup curve(const Series& series, const std::vector<PlotPoint>& points, const Frame& frame) {
  std::string path;
  for (const auto& point : points)
    path += cat(path.empty() ? "M" : " ", px(frame.x.at(point.x)), " ", px(frame.y.at(point.y)));
  return shape("path",
               {{"class", cat(colour_class(series.colour), " curve",
                              series.is_dashed ? " dashed" : "", series.is_faint ? " faint" : "")},
                {"d", path}});
}

Markup drawn(const Plot& plot, const Series& series, const Frame& frame) {
  if (!series.has_line) return dots(plot, series, series.points, frame);
  const auto points = thinned(series.points, kBuckets);
  Markup out;
  if (points.size() > 1) out += curve(series, points, frame);
  if (points.size() == 1 || (series.has_dots && points.size() <= kMostDots))
    out += dots(plot, series, points, frame);
  return out;
}

Markup drawn(const Mark& mark, const Frame& frame) {
  const auto x = frame.x.at(mark.at.x), y = frame.y.at(mark.at.y);
  const bool is_right = x > (frame.x.begin + frame.x.end) / 2;
  // Beside a line down to the axis the label stands at its top, where curves are rarest.
  const auto beside = y > frame.y.begin - 22 ? y - 9 : y + 18;
  Markup out;
  if (mark.has_line) out += line("mark", x, frame.y.begin, x, frame.y.end);
  out += shape(
      "circle",
      {{"class", colour_class(mark.colour) + " ring"}, {"cx", px(x)}, {"cy", px(y)}, {"r", "5.5"}});
  if (!mark.label.empty())
    out += label("label", is_right ? "end" : "start", x + (is_right ? -9 : 9),
                 mark.has_line ? frame.y.end + 12 : beside, mark.label);
  return out;
}

Markup legend(const std::vector<Series>& all) {
  Markup out;
  for (const auto& series : all) {
    if (!series.in_legend || series.points.empty()) continue;
    auto sample = series.has_line
                      ? shape("path", {{"class", cat(colour_class(series.colour), " curve",
                                                     series.is_dashed ? " dashed" : "",
                                                     series.is_faint ? " faint" : "")},
                                       {"d", "M1 6 25 6"}})
                      : element("g",
                                {{"class", colour_class(series.colour) +
                                               (series.is_faint ? " dots hollow" : " dots")}},
                                shape("circle", {{"cx", "13"}, {"cy", "6"}, {"r", "3.5"}}));
    out += element(
        "li", {},
        element("svg", {{"class", "key"}, {"viewBox", "0 0 26 12"}, {"aria-hidden", "true"}},
                sample),
        series.name);
  }
  return element("ul", {{"class", "legend"}}, out);
}

}  // namespace

Markup svg_image(const std::string& id, const std::string& title, const std::string& description,
                 double width, double height, const Markup& content) {
  return element("svg",
                 {{"role", "img"},
                  {"viewBox", cat("0 0 ", px(width), " ", px(height))},
                  {"aria-labelledby", cat(id, "-title ", id, "-desc")}},
                 element("title", {{"id", id + "-title"}}, title),
                 element("desc", {{"id", id + "-desc"}}, description), content);
}

Markup draw(const Plot& plot) {
  const auto shown = std::count_if(plot.series.begin(), plot.series.end(), [](const Series& s) {
    return s.in_legend && !s.points.empty();
  });
  const auto caption = element("figcaption", {}, plot.title);
  if (std::all_of(plot.series.begin(), plot.series.end(),
                  [](const Series& s) { return s.points.empty(); }))
    return element("figure", {}, caption, element("p", {{"class", "none"}}, "Nothing to draw."));
  const auto frame = frame_of(plot);
  auto content = axes(plot, frame);
  for (const auto& series : plot.series) content += drawn(plot, series, frame);
  for (const auto& mark : plot.marks) content += drawn(mark, frame);
  return element("figure", {{"class", plot.width > 600 ? "wide" : ""}}, caption,
                 svg_image(plot.id, plot.title, plot.description, plot.width, plot.height, content),
                 shown > 1 ? legend(plot.series) : Markup());
}

}  // namespace moe::report
