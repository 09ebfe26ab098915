#include "moe/data/corpus.h"

#include <algorithm>
#include <cmath>

#include "data/foreign.h"
#include "moe/base/file.h"
#include "moe/base/sha256.h"
#include "moe/base/system.h"
#include "moe/base/text.h"
#include "moe/data/utf8.h"

namespace moe {

namespace {

/// CRLF and lone CR become LF, as Python's text mode folds them. Says whether anything changed.
bool fold_line_ends(std::string& text) {
  if (text.find('\r') == std::string::npos) return false;
  std::size_t kept = 0;  // in place: a copy would be as much memory again
  for (std::size_t i = 0; i < text.size(); ++i) {
    if (text[i] != '\r')
      text[kept++] = text[i];
    else if (i + 1 == text.size() || text[i + 1] != '\n')
      text[kept++] = '\n';
  }
  text.resize(kept);
  return true;
}

}  // namespace

Text clean_text(std::string bytes, std::string_view where) {
  Text text;
  text.utf8 = std::move(bytes);
  text.sha256 = sha256_hex(text.utf8);
  if (const auto kind = foreign_kind(text.utf8); !kind.empty())
    throw DataError(cat(where, ": ", kind));
  if (const auto bad = find_invalid_utf8(text.utf8))
    throw DataError(cat(where, ": ", describe_invalid_utf8(text.utf8, *bad)));
  if (text.utf8.starts_with("\xEF\xBB\xBF")) {
    text.utf8.erase(0, 3);
    text.notices.emplace_back("the byte-order mark was left out");
  }
  if (fold_line_ends(text.utf8)) text.notices.emplace_back("CR line ends were folded to LF");
  if (const auto count = std::ranges::count(text.utf8, '\0'); count > 0)
    text.notices.push_back(cat(count, " NUL bytes are learned as symbols; is it a text?"));
  text.text_sha256 = text.notices.empty() ? text.sha256 : sha256_hex(text.utf8);
  return text;
}

namespace {

/// Before a byte is read. What the text has as symbols is known only then; it is a quarter of its
/// bytes at least, each an id of four bytes.
void require_memory_for(const std::filesystem::path& path) {
  std::error_code error;  // what cannot be read is the reader's to say, a pipe has no size
  if (!fs::is_regular_file(path, error)) return;
  const auto bytes = static_cast<double>(fs::file_size(path, error));
  if (!error)
    require_memory(2 * bytes, cat(path.string(), ": its ", human_bytes(bytes), " need"),
                   "give a shorter text");
}

}  // namespace

Text read_text(const std::filesystem::path& path) {
  require_memory_for(path);
  auto text = clean_text(read_file(path, ErrorKind::data), path.string());
  if (text.utf8.empty()) throw DataError(cat(path.string(), ": is empty; give it some text"));
  return text;
}

Corpus split_by_position(Tokens tokens, double train_fraction, std::int64_t block_size,
                         std::string_view where) {
  const auto n = static_cast<std::int64_t>(tokens.size());
  const auto train = static_cast<std::int64_t>(std::floor(train_fraction * static_cast<double>(n)));
  const auto least = block_size + 1;
  if (train < least || n - train < least) {
    const auto share = std::min(train_fraction, 1 - train_fraction);
    const auto needed = std::ceil(static_cast<double>(least) / share) + 1;
    constexpr double kLongest = 1e15;  // beyond it no text is: the fraction is the trouble
    throw DataError(cat(where, ": the text has ", n, " symbols, ", train, " to train on and ",
                        n - train,
                        " to validate on; each part needs model.block_size + 1 = ", least, "; ",
                        needed < kLongest ? cat("give at least about ", std::llround(needed),
                                                " symbols or lower model.block_size")
                                          : "bring data.train_fraction nearer to 0.9"));
  }
  Tokens val(tokens.begin() + train, tokens.end());
  tokens.resize(static_cast<std::size_t>(train));
  return {std::move(tokens), std::move(val)};
}

}  // namespace moe
