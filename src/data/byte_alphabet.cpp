#include "moe/data/byte_alphabet.h"

#include <algorithm>
#include <numeric>

#include "moe/data/utf8.h"

namespace moe {

namespace {

constexpr char32_t kFirstStandIn = 0x100;
constexpr std::size_t kBeyondAlphabet = 0x144;  // the last stand-in is U+0143

constexpr std::array<char32_t, 256> make_characters() {
  std::array<char32_t, 256> characters{};
  auto stand_in = kFirstStandIn;
  for (std::size_t byte = 0; byte < characters.size(); ++byte) {
    const bool is_shown = (byte >= 0x21 && byte <= 0x7E) || (byte >= 0xA1 && byte != 0xAD);
    characters[byte] = is_shown ? static_cast<char32_t>(byte) : stand_in++;
  }
  return characters;
}

constexpr auto kCharacters = make_characters();

/// The byte of each character, -1 for those that stand for none.
constexpr auto kBytes = [] {
  std::array<int, kBeyondAlphabet> bytes{};
  bytes.fill(-1);
  for (std::size_t byte = 0; byte < kCharacters.size(); ++byte)
    bytes[kCharacters[byte]] = static_cast<int>(byte);
  return bytes;
}();

}  // namespace

const std::array<char32_t, 256>& byte_characters() { return kCharacters; }

const std::array<unsigned char, 256>& bytes_by_character() {
  static const auto sorted = [] {
    std::array<unsigned char, 256> bytes{};
    std::iota(bytes.begin(), bytes.end(), static_cast<unsigned char>(0));
    std::ranges::sort(bytes, {}, [](unsigned char byte) { return kCharacters[byte]; });
    return bytes;
  }();
  return sorted;
}

std::string characters_of(std::string_view bytes) {
  std::string text;
  for (const char byte : bytes) append_utf8(text, kCharacters[static_cast<unsigned char>(byte)]);
  return text;
}

std::optional<std::string> bytes_of(std::string_view utf8) {
  std::string bytes;
  while (!utf8.empty()) {
    const auto character = take_symbol(utf8);
    if (character >= kBeyondAlphabet || kBytes[character] < 0) return std::nullopt;
    bytes += static_cast<char>(kBytes[character]);
  }
  return bytes;
}

}  // namespace moe
