#include "moe/data/bpe_training.h"

#include <algorithm>
#include <array>
#include <queue>
#include <utility>

#include "data/pair_counts.h"
#include "moe/base/error.h"
#include "moe/base/interrupt.h"
#include "moe/base/text.h"
#include "moe/data/byte_alphabet.h"
#include "moe/data/splitter.h"
#include "moe/data/utf8.h"

namespace moe {

namespace {

constexpr std::int64_t kMostTokens = std::int64_t{1} << 20U;

/// A chunk as the tokens that it consists of so far.
struct Word {
  std::size_t begin, size;  // in Trainer::symbols_
  std::int64_t count;
};

/// A pair to be merged, some time. The count may have fallen since it was put into the queue: it is
/// looked up again when the candidate comes to the front.
struct Candidate {
  std::int64_t count;
  TokenPair pair;
  std::uint32_t words;  // its list in Trainer::lists_
  /// Whether `other` goes first: it is more frequent, or as frequent and its ids are smaller.
  bool operator<(const Candidate& other) const {
    return count != other.count ? count < other.count : pair > other.pair;
  }
};

/// No token is made in two ways: where its two ends are boundaries, all that was merged between
/// them was merged as in a word of its own, so the last of these merges is always the same. A merge
/// therefore always makes a new token, and no pair comes back once it was merged (ADR 56).
class Trainer {
 public:
  Trainer(const ChunkCounts& counts, const BpeRequest& request);
  BpeVocabulary run();

 private:
  void add_words(const ChunkCounts& counts);
  std::uint32_t new_list();
  void merge(const Candidate& candidate);
  void merge_in(std::uint32_t word, const BpeMerge& merge);
  void change(std::uint32_t left, std::uint32_t right, std::int64_t by, std::uint32_t word);
  void queue_changed();

  const BpeRequest& request_;
  BpeVocabulary vocabulary_;
  std::array<std::uint32_t, 256> byte_ids_{};
  std::vector<Word> words_;
  std::vector<std::uint32_t> symbols_;  // of all words, one after another
  PairCounts pairs_;
  std::vector<TokenPair> changed_;  // pairs with words in a list that is not queued yet
  std::vector<std::vector<std::uint32_t>> lists_;  // of words
  std::vector<std::uint32_t> free_lists_;
  std::priority_queue<Candidate> queue_;
};

Trainer::Trainer(const ChunkCounts& counts, const BpeRequest& request) : request_(request) {
  auto& tokens = vocabulary_.tokens;
  tokens = request.specials;
  for (std::size_t id = 0; id < tokens.size(); ++id)
    vocabulary_.specials.push_back(static_cast<std::int32_t>(id));
  for (const auto byte : bytes_by_character()) {
    byte_ids_[byte] = static_cast<std::uint32_t>(tokens.size());
    tokens.emplace_back(1, static_cast<char>(byte));
  }
  add_words(counts);
  queue_changed();
}

void Trainer::add_words(const ChunkCounts& counts) {
  std::size_t bytes = 0;
  for (std::size_t i = 0; i < counts.size(); ++i) bytes += counts.chunk(i).size();
  symbols_.reserve(bytes);
  words_.reserve(counts.size());
  for (std::size_t i = 0; i < counts.size(); ++i) {
    const auto word = static_cast<std::uint32_t>(words_.size());
    words_.push_back({symbols_.size(), counts.chunk(i).size(), counts.count(i)});
    for (const char byte : counts.chunk(i)) {
      symbols_.push_back(byte_ids_[static_cast<unsigned char>(byte)]);
      if (symbols_.size() - words_.back().begin > 1)
        change(symbols_.end()[-2], symbols_.back(), words_.back().count, word);
    }
  }
}

std::uint32_t Trainer::new_list() {
  if (free_lists_.empty()) {
    lists_.emplace_back();
    return static_cast<std::uint32_t>(lists_.size() - 1);
  }
  const auto list = free_lists_.back();
  free_lists_.pop_back();
  return list;
}

/// One more, or less, of a pair in a word; where there is one more, the word is to be visited when
/// the pair is merged.
void Trainer::change(std::uint32_t left, std::uint32_t right, std::int64_t by, std::uint32_t word) {
  auto& pair = pairs_.at({left, right});
  pair.count += by;
  if (by < 0) return;
  if (pair.list == kNoList) {
    pair.list = new_list();
    changed_.push_back({left, right});
  }
  auto& list = lists_[pair.list];
  if (list.empty() || list.back() != word) list.push_back(word);
}

void Trainer::queue_changed() {
  for (const auto pair : changed_) {
    auto& counted = pairs_.at(pair);
    const auto list = std::exchange(counted.list, kNoList);
    if (counted.count > 0) {
      queue_.push({counted.count, pair, list});
    } else {
      lists_[list].clear();
      free_lists_.push_back(list);
    }
  }
  changed_.clear();
}

void Trainer::merge_in(std::uint32_t word, const BpeMerge& merge) {
  const auto left = static_cast<std::uint32_t>(merge.left);
  const auto right = static_cast<std::uint32_t>(merge.right);
  const auto result = static_cast<std::uint32_t>(merge.result);
  auto& [begin, size, count] = words_[word];
  auto* symbols = symbols_.data() + begin;
  std::size_t kept = 0;  // in place: what has been merged is never longer
  for (std::size_t at = 0; at < size;) {
    if (at + 1 == size || symbols[at] != left || symbols[at + 1] != right) {
      symbols[kept++] = symbols[at++];
      continue;
    }
    if (kept > 0) {
      change(symbols[kept - 1], left, -count, word);
      change(symbols[kept - 1], result, count, word);
    }
    if (at + 2 < size) {
      change(right, symbols[at + 2], -count, word);
      change(result, symbols[at + 2], count, word);
    }
    symbols[kept++] = result;
    at += 2;
  }
  size = kept;
}

void Trainer::merge(const Candidate& candidate) {
  const auto left = static_cast<std::int32_t>(candidate.pair.left);
  const auto right = static_cast<std::int32_t>(candidate.pair.right);
  auto& tokens = vocabulary_.tokens;
  const BpeMerge made{left, right, static_cast<std::int32_t>(tokens.size())};
  tokens.push_back(tokens[candidate.pair.left] + tokens[candidate.pair.right]);
  vocabulary_.merges.push_back(made);
  // Lists may be added, and move, while this one is read.
  const auto words = std::move(lists_[candidate.words]);
  for (const auto word : words) merge_in(word, made);
  lists_[candidate.words] = {};
  free_lists_.push_back(candidate.words);
  queue_changed();
}

BpeVocabulary Trainer::run() {
  const auto least = std::max<std::int64_t>(request_.min_frequency, 1);
  const auto wanted = static_cast<std::size_t>(request_.vocab_size);
  while (vocabulary_.tokens.size() < wanted && !queue_.empty()) {
    if (const auto signal = stop_signal(); signal != 0) throw Interrupted(signal);
    auto candidate = queue_.top();
    queue_.pop();
    const auto count = pairs_.at(candidate.pair).count;
    if (count != candidate.count) {
      candidate.count = count;
      queue_.push(candidate);
      continue;
    }
    if (count < least) break;
    merge(candidate);
  }
  return std::move(vocabulary_);
}

void require_possible(const BpeRequest& request) {
  const auto refuse = [](const std::string& what) { throw ConfigError(what); };
  for (const auto& special : request.specials) {
    const auto name = cat("the special token \"", printable(special), "\"");
    if (special.empty() || find_invalid_utf8(special))
      refuse(name + " is not a text in UTF-8; give it some letters");
    ChunkReader reader(special);
    reader.next();
    if (reader.at_end() || special.starts_with('\''))  // "'r" is two chunks, yet within "'re"
      refuse(name + " is what merges may make of ordinary text; write it as <|NAME|>");
    if (std::ranges::count(request.specials, special) > 1) refuse(name + " is given twice");
  }
  const auto least = static_cast<std::int64_t>(256 + request.specials.size());
  if (request.vocab_size < least || request.vocab_size > kMostTokens)
    refuse(cat("a vocabulary of ", request.vocab_size, " tokens: bytes and special tokens are ",
               least, "; ask for ", least, " to ", kMostTokens));
  if (request.min_frequency < 0)
    refuse(cat("a pair cannot stand ", request.min_frequency, " times; give 0 or more"));
}

}  // namespace

BpeVocabulary train_bpe(const ChunkCounts& counts, const BpeRequest& request) {
  require_possible(request);
  return Trainer(counts, request).run();
}

}  // namespace moe
