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

/// Cells of a terminal that well-formed UTF-8 takes: two for wide East Asian symbols and emoji,
/// none for combining marks.
std::size_t display_width(std::string_view utf8);

/// A symbol of a text as it can stand in a table: a space as "␣", a line end as "↵", control
/// characters escaped.
std::string visible_symbol(const std::string& symbol);

}  // namespace moe::cli
