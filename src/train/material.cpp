#include "moe/train/material.h"

#include <ATen/Parallel.h>

#include <algorithm>
#include <optional>
#include <utility>

#include "moe/base/text.h"
#include "moe/data/bpe_training.h"
#include "moe/data/ngrams.h"
#include "moe/data/prepare.h"
#include "moe/data/training_part.h"
#include "moe/data/utf8.h"

namespace moe {

namespace {

constexpr std::size_t kSumLength = 64;  // [digits]
constexpr const char* kNameText = "--data FILE";
constexpr const char* kNameVal = "--set data.val_path=FILE";

/// The sum of the text at place `i`.
std::string_view sum_at(std::string_view sums, std::size_t i) {
  return sums.substr(std::min(sums.size(), i * kSumLength), kSumLength);
}

/// Old checkpoints remember the bytes on disk alone, which are mostly the text as it is learned.
bool is_same_text(const DataSums& saved, const DataSums& now, std::size_t i) {
  const auto text = sum_at(now.texts, i), file = sum_at(saved.files, i);
  if (!saved.texts.empty()) return sum_at(saved.texts, i) == text;
  return file == text || file == sum_at(now.files, i);
}

}  // namespace

TextSize Material::size() const {
  const auto count = [](std::size_t n) { return static_cast<std::int64_t>(n); };
  const auto held = corpus.train.bytes_held() + corpus.val.bytes_held();
  return {count(text_bytes), count(held / sizeof(std::int32_t)), count(corpus.train.size()),
          count(corpus.val.size())};
}

namespace {

Tokenizer characters_for(const RunText& text, Log& log) {
  if (text.kind == RunText::Kind::on_disk) return characters_of(text.sources, log);
  std::vector<bool> is_there(kCodePoints, false);
  for (const auto& one : text.held)
    for (std::string_view rest = one.utf8; !rest.empty();) is_there[take_symbol(rest)] = true;
  return CharTokenizer::from_symbols(is_there);
}

Tokenizer tokenizer_of_characters(const RunText& text, Log& log) {
  auto tokenizer = characters_for(text, log);
  if (tokenizer.vocab_size() == 1)
    throw DataError(cat(text.name, ": is made of one single symbol, \"",
                        printable(tokenizer.symbol(0)), "\": there is nothing to learn; ",
                        "give a text with more than one"));
  return tokenizer;
}

ChunkCounts chunks_to_learn(const RunTexts& texts, const RunConfig& config, Log& log) {
  const auto threads = at::get_num_threads();
  const auto fraction = texts.val ? std::nullopt : std::optional(config.data.train_fraction);
  if (texts.text.kind == RunText::Kind::on_disk)
    return count_training_chunks(texts.text.sources, fraction, threads, log);
  std::string joined;
  const auto& held = texts.text.held;
  if (held.size() > 1) joined = RunText(texts.text).joined(kEndOfText);
  std::string_view learned = held.size() > 1 ? std::string_view(joined) : held.front().utf8;
  if (fraction) learned = learned.substr(0, training_end(learned, *fraction));
  ChunkCounts counts;
  counts.add_texts(documents_of(learned), texts.text.name, threads);
  return counts;
}

Tokenizer trained_bpe(const RunTexts& texts, const RunConfig& config, Log& log) {
  const auto& data = config.data;
  BpeTokenizer tokenizer(
      train_bpe(chunks_to_learn(texts, config, log), {.vocab_size = data.vocab_size}));
  if (tokenizer.vocab_size() < data.vocab_size)
    log.warn(cat(texts.text.name, ": has pairs for ", tokenizer.vocab_size(),
                 " tokens alone, not for data.vocab_size = ", data.vocab_size));
  return tokenizer;
}

/// Subwords of a text may all be one.
void require_more_than_one(TokenView train, const std::string& name) {
  for (std::size_t at = 1; at < train.size(); ++at)
    if (train[at] != train[at - 1]) return;
  throw DataError(cat(name, ": becomes one single token, again and again: there is ",
                      "nothing to learn; give another text or lower data.vocab_size"));
}

}  // namespace

Tokenizer tokenizer_for(const RunTexts& texts, const RunConfig& config, Log& log) {
  const auto& name = config.data.tokenizer;
  if (name != "char" && name != "bpe") return read_tokenizer(name, ErrorKind::data);
  if (texts.text.kind == RunText::Kind::token_file)
    throw DataError(cat(texts.text.name,
                        ": is a token file; name the tokenizer that made it with --set "
                        "data.tokenizer=FILE, or give the text"));
  return name == "char" ? tokenizer_of_characters(texts.text, log)
                        : trained_bpe(texts, config, log);
}

void require_same_texts(const DataSums& now, const DataSums& saved, const RunConfig& config) {
  for (std::size_t i = 0; i * kSumLength < saved.files.size(); ++i) {
    if (is_same_text(saved, now, i)) continue;
    throw DataError(cat((i == 0 ? config.data.path : config.data.val_path).shown(),
                        ": is not the text that this run was ", i == 0 ? "trained" : "validated",
                        " on (sha256 differs); name that text with ", i == 0 ? kNameText : kNameVal,
                        ", or train into another folder"));
  }
}

namespace {

/// The part to train on, and the rest.
RunCorpus split_text(RunText text, const Tokenizer& tokenizer, const MaterialRequest& request,
                     DataSums& sums) {
  const auto& config = request.config;
  const CorpusSplit split{config.data.train_fraction,
                          config.model.block_size,
                          {SpecialText::token, at::get_num_threads(), request.unknown}};
  const auto name = text.name;
  if (text.kind == RunText::Kind::held) {
    sums = text.sums_of_held();
    auto corpus = encode_and_split(text.joined(separator_of(tokenizer)), tokenizer, split, name);
    return {std::move(corpus.train), std::move(corpus.val)};
  }
  const auto all =
      encode_text(std::move(text), tokenizer, request.unknown, request.log, request.place);
  sums = all.sums;
  const auto train = training_tokens(all.tokens, tokenizer, config.data.train_fraction);
  const auto val = all.tokens.size() - train;
  require_both_parts(static_cast<std::int64_t>(train), static_cast<std::int64_t>(val), split, name);
  return {all.tokens.part(0, train), all.tokens.part(train, val)};
}

RunCorpus two_texts(RunTexts texts, const Tokenizer& tokenizer, const MaterialRequest& request,
                    DataSums& sums) {
  const auto least = request.config.model.block_size + 1;
  const auto encode = [&](RunText text) {
    const auto name = text.name;
    auto out = encode_text(std::move(text), tokenizer, request.unknown, request.log, request.place);
    sums = {sums.files + out.sums.files, sums.texts + out.sums.texts};
    return out.tokens;
  };
  const std::string names[]{texts.text.name, texts.val->name};
  const RunCorpus corpus{encode(std::move(texts.text)), encode(std::move(*texts.val))};
  for (const auto* split : {&corpus.train, &corpus.val})
    if (static_cast<std::int64_t>(split->size()) < least)
      throw DataError(cat(names[split == &corpus.train ? 0 : 1], ": ", split->size(),
                          " symbols are too few; give at least model.block_size + 1 = ", least));
  return corpus;
}

}  // namespace

Material make_material(RunTexts texts, const Tokenizer& tokenizer, const MaterialRequest& request) {
  // Of what is held they are known before it is encoded.
  if (request.must_be != nullptr && texts.are_held())
    require_same_texts(texts.sums_of_held(), *request.must_be, request.config);
  Material out{
      tokenizer, {}, {}, texts.text.bytes_held() + (texts.val ? texts.val->bytes_held() : 0)};
  out.corpus = texts.val ? two_texts(std::move(texts), tokenizer, request, out.sums)
                         : split_text(std::move(texts.text), tokenizer, request, out.sums);
  if (request.must_be != nullptr) require_same_texts(out.sums, *request.must_be, request.config);
  return out;
}

Material read_material(const RunConfig& config, Log& log, const TokenPlace* place) {
  auto texts = read_texts(config, log, place);
  const auto name = texts.text.name;
  const auto tokenizer = tokenizer_for(texts, config, log);
  auto material = make_material(std::move(texts), tokenizer, {config, log, place});
  require_more_than_one(material.corpus.train, name);
  material.ngrams = ngrams_of(config, tokenizer.vocab_size(), material.corpus.train);
  return material;
}

std::vector<NgramKeys> ngrams_of(const RunConfig& config, std::int64_t symbols, TokenView train) {
  const auto& ngram = config.model.ngram;
  std::vector<NgramKeys> out;
  for (const auto order : ngram.orders)
    out.push_back(find_ngrams(train, symbols,
                              {order, ngram.min_count, ngram.max_rows, config.model.block_size}));
  return out;
}

}  // namespace moe
