#pragma once

#include <array>
#include <optional>
#include <string>
#include <string_view>

namespace moe {

/// The character that stands for each byte in files of byte-level BPE (Radford et al. 2019):
/// printable ones of Latin-1 for themselves, the others from U+0100 on, so that no token has white
/// space or control characters in it.
const std::array<char32_t, 256>& byte_characters();

/// All bytes, sorted by their characters.
const std::array<unsigned char, 256>& bytes_by_character();

/// `bytes` in these characters, as UTF-8.
std::string characters_of(std::string_view bytes);

/// The bytes that these characters stand for; nullopt where one of them stands for none. `utf8` is
/// well-formed.
std::optional<std::string> bytes_of(std::string_view utf8);

}  // namespace moe
