#include "data/source_batches.h"

#include <algorithm>

#include "moe/base/error.h"
#include "moe/base/path.h"
#include "moe/base/text.h"

namespace moe {

namespace {

constexpr std::size_t kLongestUncut = std::size_t{64} << 20U;  // [bytes]

std::uint64_t bytes_of_files(const std::vector<std::filesystem::path>& paths) {
  std::uint64_t bytes = 0;
  for (const auto& path : paths) bytes += static_cast<std::uint64_t>(stamp_of(path).size);
  return bytes;
}

}  // namespace

void SourceBatch::clear() {
  text.clear();
  parts.clear();
  groups.clear();
  encoded.clear();
}

SourceBatches::SourceBatches(const std::vector<std::filesystem::path>& paths,
                             const Tokenizer& tokenizer, std::size_t batch_bytes)
    : paths_(paths),
      cutter_(tokenizer),
      batch_bytes_(batch_bytes),
      bytes_in_all_(bytes_of_files(paths)),
      merges_(tokenizer.bpe() != nullptr && !cutter_.separator()) {
  if (paths.size() > 1 && merges_)
    notices_.push_back(cat("the tokenizer has no token ", kEndOfText,
                           ": the texts follow one another without one between them"));
}

void SourceBatches::open_next() {
  const auto& path = paths_[at_];
  stamp_ = stamp_of(path);
  settled_ = settled_stamp(path);
  reader_ = std::make_unique<TextReader>(path, std::min(batch_bytes_, kTextBlock));
  has_text_ = false;
}

/// The file that is being read has been read.
void SourceBatches::end_file(bool has_text) {
  const auto& path = paths_[at_];
  const auto name = path.string();
  const bool is_file = type_of(path, ErrorKind::data) == fs::file_type::regular;
  if (is_file && stamp_of(path) != stamp_)
    throw DataError(cat(name, ": was changed while it was read; try again once it is complete"));
  const auto& cleaner = reader_->cleaner();
  sources_.push_back({name, reader_->size(), cleaner.sha256(), cleaner.text_sha256(),
                      is_file ? settled_ : FileStamp{}});
  for (const auto& notice : cleaner.notices()) notices_.push_back(cat(name, ": ", notice));
  if (!has_text) notices_.push_back(name + ": is empty, and left out");
  reader_.reset();
  ++at_;
}

/// Reads on until there is a batch of text, or no more.
std::vector<SourceBatches::Stretch> SourceBatches::fill(std::string& text) {
  std::vector<Stretch> stretches;
  text = carried_;  // its own memory stays, and is enough after the first time
  carried_.clear();
  if (reader_ || !text.empty()) stretches.push_back({0, at_, false});
  const auto enough = std::max(batch_bytes_, 2 * text.size());
  while (text.size() < enough && at_ < paths_.size()) {
    if (!reader_) {
      open_next();
      if (!merges_ || stretches.empty()) stretches.push_back({text.size(), at_, false});
    }
    const auto before = text.size(), read_before = reader_->bytes_read();
    const bool more = reader_->append(text);
    bytes_read_ += reader_->bytes_read() - read_before;
    bytes_of_text_ += text.size() - before;
    has_text_ = has_text_ || text.size() > before;
    if (more) continue;
    stretches.back().is_end = !merges_ || at_ + 1 == paths_.size();
    end_file(has_text_);
  }
  return stretches;
}

void SourceBatches::cut(SourceBatch& batch, const Stretch& stretch, std::size_t end) {
  const auto text = std::string_view(batch.text).substr(stretch.begin, end - stretch.begin);
  std::vector<TextPart> parts;
  const auto separator = cutter_.separator();
  if (!is_inside_ && !text.empty() && separates_ && separator) parts.push_back(*separator);
  if (!text.empty()) {
    is_inside_ = true;
    separates_ = true;
  }
  const auto certain = cutter_.cut(text, stretch.is_end, parts);
  if (stretch.is_end)
    is_inside_ = false;
  else
    carried_ = text.substr(certain);
  if (carried_.size() > kLongestUncut)
    throw DataError(cat(paths_[stretch.source].string(), ": has ",
                        human_bytes(static_cast<double>(carried_.size())),
                        " without a place to cut them, such as a space behind a word; is it a "
                        "text?"));
  for (std::size_t begin = 0; const auto ends : group_ends(parts)) {
    const auto first = batch.parts.size();
    batch.groups.push_back({first + begin, first + ends, stretch.source});
    begin = ends;
  }
  batch.parts.insert(batch.parts.end(), parts.begin(), parts.end());
}

void SourceBatches::read(SourceBatch& batch) {
  if (is_done_) return;
  batch.text.reserve(batch_bytes_ + 2 * std::min(batch_bytes_, kTextBlock));  // else it doubles
  const auto stretches = fill(batch.text);
  for (std::size_t i = 0; i < stretches.size(); ++i)
    cut(batch, stretches[i], i + 1 < stretches.size() ? stretches[i + 1].begin : batch.text.size());
  is_done_ = at_ == paths_.size();
}

}  // namespace moe
