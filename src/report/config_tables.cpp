#include <algorithm>
#include <map>

#include "moe/base/text.h"
#include "moe/config/load.h"
#include "moe/tracking/flat_config.h"
#include "report/run_section.h"

namespace moe::report {

namespace {

using tracking::FlatConfig;

constexpr std::string_view kNone = "–";
constexpr std::size_t kMostColumns = 40;  // runs side by side

/// What one key is in each of several configs.
struct KeyRow {
  std::string key;
  std::vector<std::string> values;  // one a column; kNone where a config has no such key

  bool differs() const {
    return std::adjacent_find(values.begin(), values.end(), std::not_equal_to<>()) != values.end();
  }
};

/// The keys of all configs in the order of the first one that has them.
std::vector<KeyRow> rows_of(const std::vector<FlatConfig>& configs) {
  std::vector<KeyRow> rows;
  std::map<std::string, std::size_t> place_of;
  for (std::size_t column = 0; column < configs.size(); ++column)
    for (const auto& [key, value] : configs[column]) {
      const auto place = place_of.try_emplace(key, rows.size()).first->second;
      if (place == rows.size())
        rows.push_back({key, std::vector<std::string>(configs.size(), std::string(kNone))});
      rows[place].values[column] = tracking::plain_text(value);
    }
  return rows;
}

Markup row_cells(const KeyRow& row, std::size_t column, bool is_marked) {
  const auto value = element("code", {}, row.values[column]);
  return is_marked ? element("mark", {}, value) : value;
}

HtmlTable table_of(const std::string& caption, const std::vector<std::string>& columns,
                   const std::vector<KeyRow>& rows, std::size_t first_marked) {
  HtmlTable table{caption, {"key"}, {}, "config"};
  table.heads.insert(table.heads.end(), columns.begin(), columns.end());
  for (const auto& row : rows) {
    std::vector<Markup> cells{element("code", {}, row.key)};
    for (std::size_t i = 0; i < row.values.size(); ++i)
      cells.push_back(row_cells(row, i, row.differs() && i >= first_marked));
    table.rows.push_back(std::move(cells));
  }
  return table;
}

Markup against_defaults(const RunData& run) {
  const auto rows =
      rows_of({tracking::flat_config(RunConfig{}), tracking::flat_config(run.config)});
  std::vector<KeyRow> changed;
  std::copy_if(rows.begin(), rows.end(), std::back_inserter(changed),
               [](const KeyRow& row) { return row.differs() && row.values.back() != kNone; });
  const std::vector<std::string> columns{"default", run.name};
  return draw(table_of("What differs from the defaults", columns, changed, 1)) +
         folded("All keys", draw(table_of("All keys", columns, rows, 1)));
}

Markup against_one_another(const std::vector<RunData>& runs) {
  std::vector<FlatConfig> configs;
  std::vector<std::string> columns;
  for (const auto& run : runs) {
    if (columns.size() == kMostColumns) break;
    configs.push_back(tracking::flat_config(run.config));
    columns.push_back(run.name);
  }
  const auto rows = rows_of(configs);
  std::vector<KeyRow> different;
  std::copy_if(rows.begin(), rows.end(), std::back_inserter(different),
               [](const KeyRow& row) { return row.differs(); });
  Markup out;
  if (runs.size() > kMostColumns)
    out +=
        element("p", {{"class", "note"}}, "The first ", cat(kMostColumns), " runs are compared.");
  out += different.empty() ? element("p", {}, "All configs are the same.")
                           : draw(table_of("Keys in which the runs differ", columns, different, 0));
  return out + folded("All keys", draw(table_of("All keys", columns, rows, 0)));
}

}  // namespace

Markup config_tables(const std::vector<RunData>& runs) {
  const bool has_any =
      std::any_of(runs.begin(), runs.end(), [](const RunData& run) { return !run.config.empty(); });
  if (!has_any) return element("p", {{"class", "none"}}, "No config was found.");
  return runs.size() == 1 ? against_defaults(runs.front()) : against_one_another(runs);
}

}  // namespace moe::report
