#include "moe/data/bpe_tokenizer.h"

#include <algorithm>
#include <stdexcept>

#include "data/bpe_tables.h"
#include "data/require_utf8.h"
#include "data/workers.h"
#include "moe/base/system.h"
#include "moe/base/text.h"
#include "moe/data/bpe_encoder.h"
#include "moe/data/splitter.h"
#include "moe/data/utf8_stream.h"

namespace moe {

namespace {

constexpr std::size_t kPieceOfWork = std::size_t{1} << 18U;  // [bytes] a worker's share at a time

using Ids = std::vector<std::int32_t>;

/// The parts cut on, so that several threads have something to do.
std::vector<TextPart> cut_on(const std::vector<TextPart>& parts) {
  std::vector<TextPart> pieces;
  for (const auto& part : parts) {
    if (part.special >= 0)
      pieces.push_back(part);
    else
      for (const auto piece : cut_into_pieces(part.text, kPieceOfWork)) pieces.push_back({piece});
  }
  return pieces;
}

/// Room for most texts: a token has seldom less than three bytes. What is not used is not touched.
constexpr std::size_t kBytesPerId = 3;

void append_part(BpeEncoder& encoder, const TextPart& part, Ids& ids) {
  if (part.special >= 0)
    ids.push_back(part.special);
  else
    encoder.append(part.text, ids);
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
  auto parts =
      specials == SpecialText::token ? tables_->parts(utf8) : std::vector<TextPart>{{utf8}};
  Ids ids;
  if (threads <= 1 || utf8.size() < 2 * kPieceOfWork) {
    BpeEncoder encoder(*this);
    ids.reserve(utf8.size() / kBytesPerId + 1);
    for (const auto& part : parts) append_part(encoder, part, ids);
    return ids;
  }
  parts = cut_on(parts);
  std::vector<Ids> found(parts.size());
  std::vector<BpeEncoder> encoders;
  encoders.reserve(static_cast<std::size_t>(threads));
  for (int i = 0; i < threads; ++i) encoders.emplace_back(*this);
  share_work(threads, parts.size(), [&](std::size_t worker, std::size_t part) {
    found[part].reserve(parts[part].text.size() / kBytesPerId + 1);
    append_part(encoders[worker], parts[part], found[part]);
  });
  std::size_t size = 0;
  for (const auto& part : found) size += part.size();
  ids.reserve(size);
  for (auto& part : found) {
    ids.insert(ids.end(), part.begin(), part.end());
    Ids().swap(part);  // else all ids would be there twice at the end
  }
  return ids;
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
