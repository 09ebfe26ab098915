#include <algorithm>
#include <cmath>

#include "moe/base/path.h"
#include "moe/base/text.h"
#include "moe/base/version.h"
#include "moe/report/report.h"
#include "moe/sweep/summary.h"
#include "report/run_section.h"
#include "report/style.h"
#include "report/sweep_section.h"

namespace moe::report {

namespace {

constexpr std::size_t kDetailedRuns = 8;  // of several, the best ones; the others are compared only

bool is_sweep(const fs::path& folder) {
  return is_file(folder / "sweep.json", ErrorKind::resource);
}

void append(std::vector<Section>& out, std::vector<Section> more) {
  std::move(more.begin(), more.end(), std::back_inserter(out));
}

/// Which runs are shown in full: the best ones, in the order given.
std::vector<bool> detailed(const std::vector<RunData>& runs) {
  std::vector<double> losses;
  const auto loss = [](const RunData& run) { return run.best ? run.best->y : INFINITY; };
  losses.reserve(runs.size());
  for (const auto& run : runs) losses.push_back(loss(run));
  std::sort(losses.begin(), losses.end());
  const auto limit = losses.size() > kDetailedRuns ? losses[kDetailedRuns - 1] : INFINITY;
  std::vector<bool> out;
  std::size_t shown = 0;
  for (const auto& run : runs) {
    out.push_back(loss(run) <= limit && shown < kDetailedRuns);
    shown += out.back() ? 1 : 0;
  }
  return out;
}

std::vector<Section> run_sections(const std::vector<fs::path>& folders) {
  if (folders.empty()) return {};
  const auto runs = read_runs(folders);
  auto out = comparison(runs);
  const auto is_shown = detailed(runs);
  for (std::size_t i = 0; i < runs.size(); ++i)
    if (is_shown[i]) append(out, details(runs[i], cat("run-", i), runs.size() == 1));
  return out;
}

Markup contents(const std::vector<Section>& sections) {
  Markup items;
  for (const auto& section : sections)
    items += element("li", {}, element("a", {{"href", "#" + section.id}}, section.title));
  return element("nav", {{"aria-label", "Contents"}}, element("ul", {}, items));
}

std::string page(const std::string& title, const std::vector<Section>& sections) {
  Markup main;
  for (const auto& section : sections)
    main +=
        element("section", {{"id", section.id}, {"aria-labelledby", section.id + "-heading"}},
                element("h2", {{"id", section.id + "-heading"}}, section.title), section.content);
  // The policy forbids what the page has no need of: scripts, and anything from elsewhere.
  const auto head = Markup::trusted(
      "<meta charset=\"utf-8\">"
      "<meta http-equiv=\"Content-Security-Policy\" "
      "content=\"default-src 'none'; style-src 'unsafe-inline'\">"
      "<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">");
  const auto style = Markup::trusted(cat("<style>", style_sheet(), "</style>"));
  const auto body = element(
      "body", {}, element("a", {{"class", "skip"}, {"href", "#main"}}, "Skip to the content"),
      element("header", {}, element("h1", {}, title), contents(sections)),
      element("main", {{"id", "main"}}, main),
      element("footer", {}, "Made by makemoe ", version(), " (", commit(), ")."));
  return cat("<!DOCTYPE html>\n",
             element("html", {{"lang", "en"}},
                     element("head", {}, head, element("title", {}, title), style), body)
                 .html(),
             "\n");
}

std::string title_of(const std::vector<fs::path>& folders) {
  constexpr std::size_t kMostNames = 3;
  std::vector<std::string> names;
  for (const auto& folder : folders)
    if (names.size() < kMostNames) names.push_back(folder_name(folder));
  const auto more = folders.size() - names.size();
  return join(names, ", ") + (more > 0 ? cat(" and ", more, " more") : std::string());
}

}  // namespace

std::string page_of(const std::vector<fs::path>& folders) {
  std::vector<Section> sections;
  std::vector<fs::path> runs;
  for (std::size_t i = 0; i < folders.size(); ++i) {
    if (is_sweep(folders[i]))
      append(sections, sweep_sections(sweep::read_sweep(folders[i]), cat("sweep-", i)));
    else
      runs.push_back(folders[i]);
  }
  append(sections, run_sections(runs));
  return page(title_of(folders), sections);
}

fs::path default_file(const std::vector<fs::path>& folders) {
  return folders.size() == 1 ? folders.front() / "report.html" : fs::path("report.html");
}

void write_report(const std::vector<fs::path>& folders, const fs::path& file, FileLayer& files) {
  files.write_output(file, page_of(folders));
}

}  // namespace moe::report
