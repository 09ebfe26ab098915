#include "cli/text_table.h"

#include <algorithm>
#include <array>

#include "moe/base/text.h"
#include "moe/data/utf8.h"

namespace moe::cli {

namespace {

constexpr std::size_t kGap = 2;  // between columns

struct Range {
  char32_t first, last;
};

template <std::size_t N>
bool is_in(char32_t symbol, const std::array<Range, N>& ranges) {
  return std::any_of(ranges.begin(), ranges.end(),
                     [&](Range range) { return symbol >= range.first && symbol <= range.last; });
}

std::size_t width_of(char32_t symbol) {
  static constexpr std::array kNone{
      Range{0x300, 0x36F},   Range{0x483, 0x489},   Range{0x591, 0x5BD},  Range{0x64B, 0x65F},
      Range{0x200B, 0x200F}, Range{0x20D0, 0x20FF}, Range{0xFE00, 0xFE0F}};
  static constexpr std::array kWide{Range{0x1100, 0x115F},   Range{0x2E80, 0xA4CF},
                                    Range{0xAC00, 0xD7A3},   Range{0xF900, 0xFAFF},
                                    Range{0xFE30, 0xFE6F},   Range{0xFF00, 0xFF60},
                                    Range{0x1F300, 0x1FAFF}, Range{0x20000, 0x3FFFD}};
  if (is_in(symbol, kNone)) return 0;
  return is_in(symbol, kWide) ? 2 : 1;
}

std::string spaces(std::size_t wanted, std::string_view text) {
  return std::string(wanted - std::min(wanted, display_width(text)), ' ');
}

std::size_t widest(const std::vector<std::string>& texts) {
  std::size_t most = 0;
  for (const auto& text : texts) most = std::max(most, display_width(text));
  return most;
}

/// One line: the label, then cells [begin, end).
std::string line(const std::string& label, std::size_t label_width,
                 const std::vector<std::string>& cells, std::size_t cell_width, std::size_t begin,
                 std::size_t end) {
  auto out = label + spaces(label_width, label);
  for (auto i = begin; i < end; ++i) out += spaces(cell_width + kGap, cells[i]) + cells[i];
  return out + "\n";
}

}  // namespace

std::size_t display_width(std::string_view utf8) {
  std::size_t width = 0;
  for (const auto symbol : decode_utf8(utf8)) width += width_of(symbol);
  return width;
}

TextTable table_of_layers(const std::string& corner, std::size_t layers) {
  TextTable table{corner, {}, {}, {}};
  for (std::size_t layer = 0; layer < layers; ++layer) table.heads.push_back(cat("L", layer));
  return table;
}

std::string visible_symbol(const std::string& symbol) {
  constexpr std::size_t kMost = 60;  // of a token of spaces, for one [bytes]
  std::string marked;
  for (const auto byte : symbol.substr(0, kMost))
    marked += byte == ' ' ? "\u2423" : byte == '\n' ? "\u21B5" : std::string(1, byte);
  return printable(marked, 4 * marked.size(), Quotes::kept);
}

std::string laid_out(const TextTable& table, std::size_t width) {
  const auto label_width = std::max(widest(table.labels), display_width(table.corner));
  auto cell_width = widest(table.heads);
  for (const auto& row : table.cells) cell_width = std::max(cell_width, widest(row));
  const auto room = width - std::min(width, label_width);
  const auto fitting = std::max<std::size_t>(1, room / (cell_width + kGap));
  std::string out;
  for (std::size_t begin = 0; begin < table.heads.size(); begin += fitting) {
    const auto end = std::min(begin + fitting, table.heads.size());
    if (begin > 0) out += "\n";
    out += line(table.corner, label_width, table.heads, cell_width, begin, end);
    for (std::size_t row = 0; row < table.labels.size(); ++row)
      out += line(table.labels[row], label_width, table.cells[row], cell_width, begin, end);
  }
  return out;
}

}  // namespace moe::cli
