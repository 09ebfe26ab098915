#pragma once

#include <cstddef>
#include <string>
#include <string_view>
#include <vector>

namespace moe::cli {

/// Cells under heads, beside labels.
struct TextTable {
  std::string corner;                           // above the labels
  std::vector<std::string> heads;               // (columns)
  std::vector<std::string> labels;              // (rows)
  std::vector<std::vector<std::string>> cells;  // (rows, columns)
};

/// The table as text, aligned, its columns to the right. Columns that do not fit into `width` cells
/// of the terminal follow below in further blocks, each with all labels.
std::string laid_out(const TextTable& table, std::size_t width = 80);

/// A table with a column a layer and no rows yet.
TextTable table_of_layers(const std::string& corner, std::size_t layers);

/// Adds a row; cell(column) is its text.
template <class Cell>
void add_row(TextTable& table, const std::string& label, const Cell& cell) {
  table.labels.push_back(label);
  auto& row = table.cells.emplace_back();
  for (std::size_t column = 0; column < table.heads.size(); ++column) row.push_back(cell(column));
}

/// Cells of a terminal that well-formed UTF-8 takes: two for wide East Asian symbols and emoji,
/// none for combining marks.
std::size_t display_width(std::string_view utf8);

/// A symbol of a text as it can stand in a table: a space as "␣", a line end as "↵", control
/// characters escaped.
std::string visible_symbol(const std::string& symbol);

}  // namespace moe::cli
