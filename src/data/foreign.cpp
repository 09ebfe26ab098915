#include "data/foreign.h"

#include <algorithm>
#include <array>

#include "moe/base/text.h"
#include "moe/data/utf8.h"

namespace moe {

namespace {

using namespace std::string_view_literals;

/// Bytes by which a kind of file is known, and what is said of it.
struct Magic {
  std::size_t offset;
  std::string_view bytes, what;
};
constexpr auto kUtf16 =
    "is UTF-16, not UTF-8; convert it: iconv -f UTF-16 -t UTF-8 FILE > NEW.txt"sv;
constexpr auto kUtf32 =
    "is UTF-32, not UTF-8; convert it: iconv -f UTF-32 -t UTF-8 FILE > NEW.txt"sv;
constexpr auto kTar = "is a tar archive; unpack it and name a text in it: tar -xf FILE"sv;
constexpr std::array kMagics{
    Magic{0, "\xFF\xFE\0\0"sv, kUtf32},  // before UTF-16's mark, with which it begins
    Magic{0, "\0\0\xFE\xFF"sv, kUtf32},
    Magic{0, "\xFF\xFE"sv, kUtf16},
    Magic{0, "\xFE\xFF"sv, kUtf16},
    Magic{0, "\x1F\x8B"sv, "is compressed with gzip; unpack it: gunzip -k FILE"sv},
    Magic{0,
          "\xFD"
          "7zXZ\0"sv,
          "is compressed with xz; unpack it: unxz -k FILE"sv},
    Magic{0, "\x28\xB5\x2F\xFD"sv, "is compressed with zstd; unpack it: unzstd FILE"sv},
    Magic{4, "1AY&SY"sv, "is compressed with bzip2; unpack it: bunzip2 -k FILE"sv},
    Magic{0, "7z\xBC\xAF\x27\x1C"sv, "is a 7z archive; unpack it and name a text in it"sv},
    Magic{257, "ustar\0"sv, kTar},
    Magic{257, "ustar  \0"sv, kTar},
    Magic{0, "%PDF-"sv, "is a PDF; take its text out: pdftotext FILE NEW.txt"sv},
    Magic{0, "\xD0\xCF\x11\xE0\xA1\xB1\x1A\xE1"sv,
          "is a document of an office program; save it as plain text in UTF-8"sv},
    Magic{0, "MOETOKEN"sv,
          "is a token file, which only training and evaluation read; name the text it is of"sv},
    Magic{0, "PAR1\x15"sv, "is a Parquet table; write its text column into a file"sv},
    Magic{0, "version https://git-lfs.github.com/spec/"sv,
          "is a Git LFS pointer, not the text itself; get that: git lfs pull"sv}};

std::string describe_zip(std::string_view bytes) {
  const auto names = [&](std::string_view name) {
    return bytes.substr(0, kForeignFront).find(name) != std::string_view::npos;
  };
  if (names("[Content_Types].xml") || names("word/document.xml") || names("mimetypeapplication/"))
    return "is a document of an office program (docx, odt, epub, ...); save it as plain text in "
           "UTF-8, e.g. with pandoc -t plain FILE -o NEW.txt";
  return "is a zip archive; unpack it and name a text in it: unzip FILE";
}

/// UTF-16 and UTF-32 without a mark: where text is mostly ASCII, zeros stand between its bytes.
/// Such a file may well be valid UTF-8.
std::string describe_wide(std::string_view bytes) {
  const auto quads = std::min(bytes.size(), kForeignFront) / 4;
  if (quads < 2) return "";
  std::array<std::size_t, 4> zeros{};  // by place in four bytes
  for (std::size_t i = 0; i < quads * 4; ++i) zeros[i % 4] += bytes[i] == '\0' ? 1 : 0;
  const auto looks_like = [](std::string_view encoding) {
    return cat("looks like ", encoding, ", not UTF-8; convert it: iconv -f ", encoding,
               " -t UTF-8 FILE > NEW.txt");
  };
  const auto all = [&](std::size_t a, std::size_t b) {
    return zeros[a] == quads && zeros[b] == quads;
  };
  if (all(2, 3) && zeros[0] * 2 < quads) return looks_like("UTF-32LE");
  if (all(0, 1) && zeros[3] * 2 < quads) return looks_like("UTF-32BE");
  const auto even = zeros[0] + zeros[2], odd = zeros[1] + zeros[3];  // of 2 * quads each
  constexpr std::size_t kFew = 50;                                   // one in so many
  if (odd >= quads && even * kFew <= quads) return looks_like("UTF-16LE");
  if (even >= quads && odd * kFew <= quads) return looks_like("UTF-16BE");
  return "";
}

/// How the bytes beyond ASCII are spread.
struct HighBytes {
  std::size_t stray = 0, in_symbols = 0;  // outside of and in well-formed sequences
  bool has_c1 = false;                    // 0x80 to 0x9F: letters in Windows-1252 alone
  bool has_undefined = false;             // in Windows-1252 too
  bool has_control = false;               // bytes that no text has
};

bool contains(std::string_view set, char c) { return set.find(c) != std::string_view::npos; }

HighBytes count_high_bytes(std::string_view bytes) {
  HighBytes out;
  while (!bytes.empty()) {
    const auto sound = find_invalid_utf8(bytes).value_or(bytes.size());
    for (const char c : bytes.substr(0, sound)) {
      out.in_symbols += static_cast<unsigned char>(c) >= 0x80 ? 1 : 0;
      out.has_control |= static_cast<unsigned char>(c) < 0x20 && !contains("\t\n\v\f\r", c);
    }
    if (sound == bytes.size()) break;
    const char stray = bytes[sound];
    ++out.stray;
    out.has_c1 |= static_cast<unsigned char>(stray) < 0xA0;
    out.has_undefined |= contains("\x81\x8D\x8F\x90\x9D", stray);
    bytes.remove_prefix(sound + 1);
  }
  return out;
}

/// The encoding of one byte a letter that the text may have; "" where nothing speaks for one.
std::string_view guess_single_byte(std::string_view bytes) {
  constexpr std::size_t kMostShare = 3;  // beyond every third byte it is no Latin script
  const auto high = count_high_bytes(bytes);
  if (high.has_control || high.has_undefined || high.stray <= high.in_symbols ||
      high.stray * kMostShare > bytes.size())
    return "";
  return high.has_c1 ? "WINDOWS-1252" : "LATIN1";
}

}  // namespace

std::string foreign_kind(std::string_view bytes) {
  for (const auto& magic : kMagics)
    if (bytes.size() > magic.offset && bytes.substr(magic.offset).starts_with(magic.bytes))
      return std::string(magic.what);
  if (bytes.starts_with("PK\x03\x04")) return describe_zip(bytes);
  return describe_wide(bytes);
}

std::string describe_invalid_utf8(std::string_view bytes, std::size_t bad, std::uint64_t before) {
  const auto what = cat("byte ", before + bad, " is not valid UTF-8");
  const auto rest = bytes.substr(bad);
  // One byte at the end may as well be a letter of Latin-1.
  if (is_cut_symbol(rest) && (rest.size() > 1 || count_high_bytes(bytes).in_symbols > 0))
    return what +
           ": the text ends in the middle of a symbol; it was cut off or is still written to";
  const auto guess = guess_single_byte(bytes);
  if (guess.empty())
    return what + "; convert the text to UTF-8: iconv -f ENCODING -t UTF-8 FILE > NEW.txt";
  return cat(what, "; it looks like ", guess == "LATIN1" ? "Latin-1" : "Windows-1252",
             ": convert the text to UTF-8: iconv -f ", guess, " -t UTF-8 FILE > NEW.txt");
}

}  // namespace moe
