#include "moe/train/material.h"

#include <ATen/Parallel.h>

#include <algorithm>
#include <functional>
#include <system_error>
#include <utility>

#include "moe/base/file.h"
#include "moe/base/text.h"
#include "moe/config/load.h"
#include "moe/data/bpe_training.h"
#include "moe/data/ngrams.h"

namespace moe {

namespace {

constexpr std::size_t kSumLength = 64;  // [digits]
constexpr const char* kNameText = "--data FILE";
constexpr const char* kNameVal = "--set data.val_path=FILE";

/// `flag` names the text on the command line.
Text read_noticed(const std::string& path, const char* flag, Log& log) {
  require_recordable(path);
  std::error_code ignored;
  const auto type = fs::status(path, ignored).type();
  if (type == fs::file_type::not_found)
    throw DataError(cat(path, ": is not there; check the path, or name the text with ", flag));
  if (type == fs::file_type::fifo)
    log.warn(cat(path,
                 ": is a pipe, which can be read only once; to resume the run or to evaluate "
                 "it, give the same text as a file with ",
                 flag));
  auto text = read_text(path);
  for (const auto& notice : text.notices) log.warn(cat(path, ": ", notice));
  return text;
}

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

DataSums RunTexts::sums() const {
  if (!val) return {text.sha256, text.text_sha256};
  return {text.sha256 + val->sha256, text.text_sha256 + val->text_sha256};
}

TextSize Material::size() const {
  const auto count = [](std::size_t n) { return static_cast<std::int64_t>(n); };
  return {count(text_bytes), count(corpus.train.capacity() + corpus.val.capacity()),
          count(corpus.train.size()), count(corpus.val.size())};
}

RunTexts read_texts(const RunConfig& config, Log& log) {
  const auto& data = config.data;
  if (data.path.empty())
    throw DataError(
        "data.path: no text is named; give --data FILE, or run data/fetch.sh and give --data "
        "data/tinyshakespeare.txt");
  RunTexts texts{read_noticed(data.path.shown(), kNameText, log), {}};
  if (!data.val_path.empty()) texts.val = read_noticed(data.val_path.shown(), kNameVal, log);
  return texts;
}

namespace {

Tokenizer characters_of(const RunTexts& texts, const RunConfig& config) {
  auto tokenizer = CharTokenizer::from_text(texts.text.utf8);
  if (tokenizer.vocab_size() == 1)
    throw DataError(cat(config.data.path.shown(), ": is made of one single symbol, \"",
                        printable(tokenizer.symbol(0)), "\": there is nothing to learn; ",
                        "give a text with more than one"));
  return tokenizer;
}

Tokenizer trained_bpe(const RunTexts& texts, const RunConfig& config, Log& log) {
  const auto& data = config.data;
  std::string_view learned = texts.text.utf8;
  if (!texts.val) learned = learned.substr(0, training_end(learned, data.train_fraction));
  ChunkCounts counts;
  counts.add_texts(documents_of(learned), data.path.shown(), at::get_num_threads());
  BpeTokenizer tokenizer(train_bpe(counts, {.vocab_size = data.vocab_size}));
  if (tokenizer.vocab_size() < data.vocab_size)
    log.warn(cat(data.path.shown(), ": has pairs for ", tokenizer.vocab_size(),
                 " tokens alone, not for data.vocab_size = ", data.vocab_size));
  return tokenizer;
}

/// What encodes a run's texts.
EncodeOptions encoding_of_texts(ErrorKind unknown) {
  return {SpecialText::token, at::get_num_threads(), unknown};
}

/// Subwords of a text may all be one.
void require_more_than_one(const Tokens& train, const RunConfig& config) {
  if (std::ranges::adjacent_find(train, std::ranges::not_equal_to()) != train.end()) return;
  throw DataError(cat(config.data.path.shown(), ": becomes one single token, again and again: there is ",
                      "nothing to learn; give another text or lower data.vocab_size"));
}

}  // namespace

Tokenizer tokenizer_for(const RunTexts& texts, const RunConfig& config, Log& log) {
  const auto& name = config.data.tokenizer;
  if (name == "char") return characters_of(texts, config);
  if (name == "bpe") return trained_bpe(texts, config, log);
  return read_tokenizer(name, ErrorKind::data);
}

void require_same_texts(const RunTexts& texts, const DataSums& saved, const RunConfig& config) {
  const auto now = texts.sums();
  for (std::size_t i = 0; i * kSumLength < saved.files.size(); ++i) {
    if (is_same_text(saved, now, i)) continue;
    throw DataError(cat((i == 0 ? config.data.path : config.data.val_path).shown(),
                        ": is not the text that this run was ", i == 0 ? "trained" : "validated",
                        " on (sha256 differs); name that text with ", i == 0 ? kNameText : kNameVal,
                        ", or train into another folder"));
  }
}

Material make_material(RunTexts texts, const Tokenizer& tokenizer, const RunConfig& config,
                       ErrorKind unknown) {
  const auto& data = config.data;
  const auto block_size = config.model.block_size;
  const auto sums = texts.sums();
  const auto bytes = texts.text.utf8.size() + (texts.val ? texts.val->utf8.size() : 0);
  const auto encoding = encoding_of_texts(unknown);
  if (!texts.val)
    return {tokenizer,
            encode_and_split(std::move(texts.text.utf8), tokenizer,
                             {data.train_fraction, block_size, encoding}, data.path.shown()),
            sums, bytes};
  auto tokens = tokenizer.encode(texts.text.utf8, data.path.shown(), encoding);
  texts.text.utf8 = {};  // not to be held together with what follows: the peak of memory
  Corpus corpus{std::move(tokens), tokenizer.encode(texts.val->utf8, data.val_path.shown(), encoding)};
  for (const auto* split : {&corpus.train, &corpus.val})
    if (static_cast<std::int64_t>(split->size()) < block_size + 1)
      throw DataError(
          cat((split == &corpus.train ? data.path : data.val_path).shown(), ": ", split->size(),
              " symbols are too few; give at least model.block_size + 1 = ", block_size + 1));
  return {tokenizer, std::move(corpus), sums, bytes};
}

Material read_material(const RunConfig& config, Log& log) {
  auto texts = read_texts(config, log);
  const auto tokenizer = tokenizer_for(texts, config, log);
  auto material = make_material(std::move(texts), tokenizer, config);
  require_more_than_one(material.corpus.train, config);
  material.ngrams = ngrams_of(config, tokenizer.vocab_size(), material.corpus.train);
  return material;
}

std::vector<NgramKeys> ngrams_of(const RunConfig& config, std::int64_t symbols,
                                 const Tokens& train) {
  const auto& ngram = config.model.ngram;
  std::vector<NgramKeys> out;
  for (const auto order : ngram.orders)
    out.push_back(find_ngrams(train, symbols,
                              {order, ngram.min_count, ngram.max_rows, config.model.block_size}));
  return out;
}

}  // namespace moe
