#include "cli/sweep_text.h"

#include <sys/ioctl.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdio>

#include "cli/text_table.h"
#include "moe/base/text.h"
#include "moe/sweep/queue.h"
#include "moe/sweep/summary.h"

namespace moe::cli {

using sweep::Definition, sweep::Point, sweep::Sweep, sweep::Trial, sweep::TrialState;

namespace {

constexpr std::size_t kBetween = 2;       // cells between columns
constexpr std::size_t kLongestText = 24;  // of a value [cells]
constexpr std::size_t kMostLeaders = 10, kMostFailures = 10;

std::string padded(const std::string& text, std::size_t width, bool to_the_right) {
  const std::string space(width - std::min(width, display_width(text)), ' ');
  return to_the_right ? space + text : text + space;
}

std::size_t column_width(const Columns& columns, std::size_t column) {
  auto width = display_width(columns.heads[column]);
  for (const auto& row : columns.rows) width = std::max(width, display_width(row[column]));
  return width;
}

std::string one_line(const std::vector<std::string>& cells, const std::vector<std::size_t>& widths,
                     const std::vector<std::size_t>& chosen) {
  std::string out;
  for (const auto column : chosen)
    out += (out.empty() ? "" : std::string(kBetween, ' ')) +
           padded(cells[column], widths[column], true);
  return out + "\n";
}

/// The columns of each block.
std::vector<std::vector<std::size_t>> blocks_of(const Columns& columns,
                                                const std::vector<std::size_t>& widths,
                                                std::size_t width) {
  std::vector<std::size_t> labels;
  std::size_t label_width = 0;
  for (std::size_t i = 0; i < columns.labels; ++i) {
    labels.push_back(i);
    label_width += widths[i] + (i > 0 ? kBetween : 0);
  }
  std::vector<std::vector<std::size_t>> blocks{labels};
  auto used = label_width;
  for (auto i = columns.labels; i < columns.heads.size(); ++i) {
    const bool is_full = used + kBetween + widths[i] > width;
    if (is_full && blocks.back().size() > columns.labels) {
      blocks.push_back(labels);
      used = label_width;
    }
    blocks.back().push_back(i);
    used += kBetween + widths[i];
  }
  return blocks;
}

std::vector<std::string> with_values(std::vector<std::string> row, const Sweep& sweep,
                                     const Trial& trial) {
  const auto cells = value_cells(sweep.definition, sweep::point_of(sweep.definition.space, trial));
  row.insert(row.end(), cells.begin(), cells.end());
  return row;
}

/// Who works on it.
std::string activity(const fs::path& dir, const Trial& trial) {
  const auto claim = trial.system(sweep::kClaim);
  if (!claim.is_object()) return "elsewhere";  // Python's own
  return sweep::present_state(dir, trial) == TrialState::running ? "runs" : "waiting";
}

}  // namespace

std::string aligned(const Columns& columns, std::size_t width) {
  std::vector<std::size_t> widths;
  for (std::size_t i = 0; i < columns.heads.size(); ++i) widths.push_back(column_width(columns, i));
  std::string out;
  for (const auto& block : blocks_of(columns, widths, width)) {
    if (!out.empty()) out += "\n";
    out += one_line(columns.heads, widths, block);
    for (const auto& row : columns.rows) out += one_line(row, widths, block);
  }
  return out;
}

std::size_t terminal_width(int stream, std::size_t otherwise) {
  winsize size = {};
  return ::ioctl(stream, TIOCGWINSZ, &size) == 0 && size.ws_col > 0 ? size.ws_col : otherwise;
}

std::string short_value(const Json& value) {
  if (value.is_number_float()) {
    const auto number = value.get<double>();
    const auto size = std::abs(number);
    std::array<char, 40> buffer{};
    std::snprintf(buffer.data(), buffer.size(), size >= 1e4 && size < 1e15 ? "%.0f" : "%.4g",
                  number);
    return buffer.data();
  }
  if (value.is_array()) {
    std::vector<std::string> parts;
    for (const auto& part : value) parts.push_back(short_value(part));
    return cat("[", join(parts, ","), "]");
  }
  auto text = value.is_string() ? printable(value.get<std::string>(), 1000, Quotes::kept)
                                : json_text(value);
  if (display_width(text) <= kLongestText) return text;
  while (display_width(text) >= kLongestText) text.erase(0, 1);
  while (!text.empty() && (static_cast<unsigned char>(text[0]) & 0xC0U) == 0x80U) text.erase(0, 1);
  return "\u2026" + text;
}

std::string objective_text(const std::optional<double>& value) {
  if (!value) return "-";
  return std::abs(*value) < 1000 ? fixed(*value, 4) : short_value(*value);
}

std::string progress(const Definition& definition, const Point& point, const Trial* trial) {
  if (trial == nullptr || trial->reported.empty()) return "-";
  const auto own = point.find("train.max_iters");
  return cat(trial->reported.rbegin()->first, "/",
             own == point.end() ? definition.base.train.max_iters
                                : static_cast<std::int64_t>(own->second));
}

std::optional<double> newest_value(const Trial* trial) {
  if (trial == nullptr || trial->reported.empty()) return std::nullopt;
  return trial->reported.rbegin()->second;
}

std::vector<std::string> value_cells(const Definition& definition, const Point& point) {
  std::vector<std::string> out;
  for (const auto& parameter : definition.space.parameters()) {
    const auto at = point.find(parameter.key);
    out.push_back(at == point.end() ? "-" : short_value(parameter.external(at->second)));
  }
  return out;
}

namespace {

/// Cells that the values of a parameter take.
std::size_t value_width(const sweep::Parameter& parameter) {
  constexpr std::size_t kNumber = 9;  // "4.919e-05"
  std::size_t width = 1;
  for (const auto& choice : parameter.choices)
    width = std::max(width, display_width(short_value(choice)));
  if (parameter.kind == sweep::Parameter::Kind::real) return kNumber;
  if (parameter.kind == sweep::Parameter::Kind::integer)
    for (const auto end : {parameter.low, parameter.high})
      width = std::max(width, short_value(parameter.external(end)).size());
  return width;
}

}  // namespace

std::vector<std::string> value_pairs(const Definition& definition, const Point& point) {
  const auto cells = value_cells(definition, point);
  const auto names = sweep::short_keys(definition.space);
  std::vector<std::string> out;
  for (std::size_t i = 0; i < cells.size(); ++i) {
    const auto width = value_width(definition.space.parameters()[i]);
    out.push_back(cat(names[i], "=", padded(cells[i], width, false)));
  }
  return out;
}

std::string wrapped(const std::string& first, const std::vector<std::string>& parts,
                    std::size_t width) {
  const std::string indent(4, ' ');
  std::string out = first, line = first;
  for (const auto& part : parts) {
    const auto end = part.find_last_not_of(' ');  // what is padded to a full line need not break it
    const auto needed = display_width(part.substr(0, end + 1));
    const auto gap = line.empty() ? 0 : kBetween;
    if (!line.empty() && display_width(line) + gap + needed > width) {
      out.erase(out.find_last_not_of(' ') + 1);
      out += "\n" + indent;
      line = indent;
    } else {
      out.append(gap, ' ');
      line.append(gap, ' ');
    }
    out += part;
    line += part;
  }
  out.erase(out.find_last_not_of(' ') + 1);
  return out;
}

std::string best_text(const Sweep& sweep, std::size_t width) {
  const auto board = sweep::leaderboard(sweep.definition, sweep.study);
  const auto& first = board.front();
  const auto seeds = first.complete.size();
  auto line =
      cat("best: trial ", first.best->number, ", ",
          printable(sweep.definition.settings.objective.metric), " ", objective_text(first.value),
          seeds > 1 ? cat(" (mean of ", seeds, " seeds)") : "");
  auto pairs = value_pairs(sweep.definition, sweep::point_of(sweep.definition.space, *first.best));
  for (auto& pair : pairs) pair.erase(pair.find_last_not_of(' ') + 1);  // one line: no columns
  return cat(wrapped(line + ":", pairs, width), "\n",
             sweep::trial_folder(sweep.dir, first.best->number).string(), "\n");
}

std::string leaders_text(const Sweep& sweep, std::size_t width) {
  const auto board = sweep::leaderboard(sweep.definition, sweep.study);
  if (board.empty()) return "";
  const bool has_seeds = sweep.definition.settings.seeds > 1;
  Columns columns{{"rank", "trial", sweep.definition.settings.objective.metric}, {}, 2};
  if (has_seeds) columns.heads.emplace_back("seeds");
  for (const auto& name : sweep::short_keys(sweep.definition.space)) columns.heads.push_back(name);
  for (const auto& point : board) {
    if (columns.rows.size() == kMostLeaders) break;
    std::vector<std::string> row{cat(columns.rows.size() + 1), cat(point.best->number),
                                 objective_text(point.value)};
    if (has_seeds) row.push_back(cat(point.complete.size()));
    columns.rows.push_back(with_values(std::move(row), sweep, *point.best));
  }
  return aligned(columns, width);
}

std::string running_text(const Sweep& sweep, std::size_t width) {
  Columns columns{{"trial", "now", "step", sweep.definition.settings.objective.metric}, {}, 1};
  for (const auto& name : sweep::short_keys(sweep.definition.space)) columns.heads.push_back(name);
  for (const auto& trial : sweep.study.trials()) {
    if (trial.state != TrialState::running) continue;
    const auto point = sweep::point_of(sweep.definition.space, trial);
    columns.rows.push_back(with_values(
        {cat(trial.number), activity(sweep.dir, trial), progress(sweep.definition, point, &trial),
         objective_text(newest_value(&trial))},
        sweep, trial));
  }
  return columns.rows.empty() ? "" : aligned(columns, width);
}

std::string failures_text(const Sweep& sweep) {
  const auto repeated = sweep::superseded(sweep.study);
  std::vector<std::string> lines;
  for (const auto& trial : sweep.study.trials())
    if (const auto reason = trial.user("reason");
        trial.state == TrialState::failed && reason.is_string() && !repeated.contains(trial.number))
      lines.push_back(cat("trial ", trial.number, " failed: ",
                          printable(reason.get<std::string>(), 300, Quotes::kept), "\n"));
  const auto first = lines.size() - std::min(lines.size(), kMostFailures);
  std::string out;
  if (first > 0) out = cat(first, " more failed before these; sweep export has all reasons\n");
  for (auto i = first; i < lines.size(); ++i) out += lines[i];
  return out;
}

}  // namespace moe::cli
