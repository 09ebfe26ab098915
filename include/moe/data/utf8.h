#pragma once

#include <cstddef>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace moe {

/// The byte offset of the first byte that is not well-formed UTF-8 (Unicode 15, table 3-7), or
/// nullopt when all is well.
std::optional<std::size_t> find_invalid_utf8(std::string_view text);

/// Whether `text` is the beginning of one symbol and ends before that is whole.
bool is_cut_symbol(std::string_view text);

/// Takes the first code point off well-formed UTF-8 (checked by the caller) that is not empty.
char32_t take_symbol(std::string_view& text);

/// How many code points well-formed UTF-8 has.
std::size_t count_symbols(std::string_view text);

/// Code points of well-formed UTF-8 (checked by the caller).
std::vector<char32_t> decode_utf8(std::string_view text);

void append_utf8(std::string& out, char32_t symbol);

}  // namespace moe
