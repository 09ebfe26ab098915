#include "moe/data/text_reader.h"

#include <algorithm>
#include <span>

#include "data/foreign.h"
#include "data/text_notices.h"
#include "moe/base/error.h"
#include "moe/base/text.h"
#include "moe/data/utf8.h"

namespace moe {

namespace {

constexpr std::string_view kByteOrderMark = "\xEF\xBB\xBF";

}  // namespace

void TextCleaner::take(std::string_view bytes, std::string& out, bool is_last) {
  bytes_sum_.update(bytes);
  held_ += bytes;
  if (!has_begun_) {
    if (held_.size() < kForeignFront && !is_last) return;
    if (const auto kind = foreign_kind(held_); !kind.empty())
      throw DataError(cat(where_, ": ", kind));
  }
  auto sound = held_.size();
  if (const auto bad = find_invalid_utf8(held_)) {
    if (is_last || !is_cut_symbol(std::string_view(held_).substr(*bad)))
      throw DataError(cat(where_, ": ", describe_invalid_utf8(held_, *bad, before_)));
    sound = *bad;
  }
  // The line feed that it may belong to is still to come.
  if (!is_last && sound > 0 && held_[sound - 1] == '\r') --sound;
  auto text = std::string_view(held_).substr(0, sound);
  if (!has_begun_ && text.starts_with(kByteOrderMark)) {
    had_mark_ = true;
    text.remove_prefix(kByteOrderMark.size());
  }
  has_begun_ = true;
  const auto begin = out.size();
  fold(text, out);
  const auto added = std::string_view(out).substr(begin);
  nul_bytes_ += static_cast<std::uint64_t>(std::ranges::count(added, '\0'));
  text_sum_.update(added);
  held_.erase(0, sound);
  before_ += sound;
}

void TextCleaner::fold(std::string_view sound, std::string& out) {
  while (true) {
    const auto at = sound.find('\r');
    out += sound.substr(0, at);
    if (at == std::string_view::npos) return;
    had_returns_ = true;
    sound.remove_prefix(at + 1);
    if (!sound.starts_with('\n')) out += '\n';
  }
}

void TextCleaner::finish(std::string& out) {
  take({}, out, /*is_last=*/true);
  sha256_ = bytes_sum_.hex();
  text_sha256_ = text_sum_.hex();
}

std::vector<std::string> TextCleaner::notices() const {
  return text_notices(had_mark_, had_returns_, nul_bytes_);
}

TextReader::TextReader(const std::filesystem::path& path, std::size_t block_bytes)
    : file_(path, ErrorKind::data), cleaner_(path.string()), block_(block_bytes) {}

bool TextReader::append(std::string& out) {
  if (is_done_) return false;
  const auto count = std::min<std::uint64_t>(block_.size(), file_.size() - at_);
  const auto block = std::span(block_).first(count);
  file_.read(at_, block);
  cleaner_.push({block.data(), block.size()}, out);
  at_ += count;
  if (at_ == file_.size()) {
    cleaner_.finish(out);
    is_done_ = true;
  }
  return !is_done_;
}

}  // namespace moe
