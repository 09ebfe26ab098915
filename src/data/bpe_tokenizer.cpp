#include "moe/data/bpe_tokenizer.h"

#include <algorithm>
#include <atomic>
#include <stdexcept>

#include "data/bpe_tables.h"
#include "data/require_utf8.h"
#include "data/text_parts.h"
#include "data/workers.h"
#include "moe/base/system.h"
#include "moe/base/text.h"
#include "moe/data/bpe_encoder.h"
#include "moe/data/utf8_stream.h"

namespace moe {

namespace {

using Ids = std::vector<std::int32_t>;

/// Room for most texts: a token has seldom less than three bytes. What is not used is not touched.
constexpr std::size_t kBytesPerId = 3;

/// By several threads. The calling one puts together, in order, what is ready, while the others go
/// on.
Ids encode_together(const BpeTokenizer& tokenizer, const std::vector<TextPart>& parts, int threads,
                    std::size_t expected) {
  const auto ends = group_ends(parts);
  threads = std::min(threads, static_cast<int>(ends.size()));
  std::vector<BpeEncoder> encoders;
  encoders.reserve(static_cast<std::size_t>(threads));
  for (int i = 0; i < threads; ++i) encoders.emplace_back(tokenizer);
  std::vector<Ids> found(ends.size());
  std::vector<std::atomic<bool>> is_ready(ends.size());
  Ids ids;
  ids.reserve(expected);
  auto collect = [&, next = std::size_t{0}]() mutable {
    for (; next < ends.size() && is_ready[next].load(std::memory_order_acquire); ++next) {
      ids.insert(ids.end(), found[next].begin(), found[next].end());
      Ids().swap(found[next]);  // else all ids would be there twice at the end
    }
  };
  share_work(threads, ends.size(), [&](std::size_t worker, std::size_t group) {
    auto& own = found[group];
    own.reserve(kPieceOfWork / kBytesPerId + 1);
    for (auto part = group == 0 ? 0 : ends[group - 1]; part < ends[group]; ++part)
      append_part(encoders[worker], parts[part], own);
    is_ready[group].store(true, std::memory_order_release);
    if (worker == 0) collect();
  });
  collect();
  return ids;
}

}  // namespace

BpeTokenizer::BpeTokenizer(BpeVocabulary vocabulary) {
  if (const auto problem = bpe_problem(vocabulary); !problem.empty())
    throw std::logic_error("BpeTokenizer: " + problem);
  tables_ = std::make_shared<const BpeTables>(std::move(vocabulary));
}

const BpeVocabulary& BpeTokenizer::vocabulary() const { return tables_->vocabulary; }

std::int64_t BpeTokenizer::vocab_size() const {
  return static_cast<std::int64_t>(tables_->vocabulary.tokens.size());
}

Ids BpeTokenizer::encode(std::string_view utf8, std::string_view where, SpecialText specials,
                         int threads) const {
  require_utf8(utf8, where, threads);
  require_memory(
      2.0 * static_cast<double>(utf8.size()),
      cat(where, ": the ids of its ", human_bytes(static_cast<double>(utf8.size())), " need"),
      "give a shorter text");
  const auto parts =
      specials == SpecialText::token ? tables_->parts(utf8) : std::vector<TextPart>{{utf8}};
  if (threads <= 1 || utf8.size() < 2 * kPieceOfWork) {
    BpeEncoder encoder(*this);
    Ids ids;
    ids.reserve(utf8.size() / kBytesPerId + 1);
    for (const auto& part : parts) append_part(encoder, part, ids);
    return ids;
  }
  return encode_together(*this, cut_on(parts), threads, utf8.size() / kBytesPerId + 1);
}

std::string BpeTokenizer::decode(std::span<const std::int32_t> ids, SpecialText specials) const {
  Utf8Stream stream;
  std::string text;
  for (const auto id : ids)
    if (specials == SpecialText::token || !is_special(id)) text += stream.push(bytes(id));
  return text + stream.finish();
}

const std::string& BpeTokenizer::bytes(std::int32_t id) const {
  return tables_->vocabulary.tokens.at(static_cast<std::size_t>(id));
}

bool BpeTokenizer::is_special(std::int32_t id) const {
  return tables_->is_special.at(static_cast<std::size_t>(id));
}

std::int32_t BpeTokenizer::start_id() const {
  for (const auto id : tables_->vocabulary.specials)
    if (bytes(id) == kEndOfText) return id;
  return tables_->byte_ids['\n'];
}

}  // namespace moe
