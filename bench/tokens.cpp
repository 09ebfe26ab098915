// Runs the byte-level BPE of this tree for bench/tokens.py and tests/e2e/tokenizers_test.py.
//   train TEXT VOCAB_SIZE MIN_FREQUENCY THREADS OUT.json         documents end with <|endoftext|>
//   encode TOKENIZER TEXT THREADS ordinary|token REPEATS [OUT]   ids as int32 into OUT
//   decode TOKENIZER IDS OUT                                     ids as int32
//   chunks TEXT OUT                                              bytes of each chunk as int32
// Standard output: one JSON object of seconds and counts.
#include <cstring>
#include <iostream>
#include <stdexcept>
#include <string>
#include <vector>

#include "moe/base/file.h"
#include "moe/base/system.h"
#include "moe/base/text.h"
#include "moe/data/bpe_training.h"
#include "moe/data/splitter.h"
#include "moe/data/tokenizer.h"

namespace {

using namespace moe;
using Arguments = std::vector<std::string>;
using Ids = std::vector<std::int32_t>;

std::string read(const std::string& path) { return read_file(path, ErrorKind::data); }

void write(const std::string& path, std::string_view bytes) {
  FileLayer().write_file(path, {&bytes, 1});
}

void write_ids(const std::string& path, const Ids& ids) {
  write(path, {reinterpret_cast<const char*>(ids.data()), ids.size() * sizeof(ids[0])});
}

/// What stands between marks of the end of a text.
std::vector<std::string_view> documents_of(std::string_view text) {
  const std::string_view end = kEndOfText;
  std::vector<std::string_view> documents;
  for (auto at = text.find(end); at != text.npos; at = text.find(end)) {
    documents.push_back(text.substr(0, at));
    text.remove_prefix(at + end.size());
  }
  documents.push_back(text);
  return documents;
}

Json train(const Arguments& given) {
  const auto text = read(given.at(0));
  const auto begin = monotonic_seconds();
  ChunkCounts counts;
  counts.add_texts(documents_of(text), given[0], std::stoi(given.at(3)));
  const auto counted = monotonic_seconds();
  const BpeTokenizer tokenizer(train_bpe(
      counts, {.vocab_size = std::stoll(given.at(1)), .min_frequency = std::stoll(given.at(2))}));
  const auto trained = monotonic_seconds();
  write(given.at(4), json_text(tokenizer.to_json(), 2));
  return {{"count_s", counted - begin},
          {"train_s", trained - counted},
          {"chunks", counts.size()},
          {"vocab_size", tokenizer.vocab_size()},
          {"peak_memory", peak_memory()}};
}

Json encode(const Arguments& given) {
  const auto tokenizer = read_tokenizer(given.at(0), ErrorKind::data);
  const auto text = read(given.at(1));
  const EncodeOptions options{
      .specials = given.at(3) == "token" ? SpecialText::token : SpecialText::ordinary,
      .threads = std::stoi(given.at(2))};
  Json seconds = Json::array();
  Ids ids;
  for (int i = 0; i < std::stoi(given.at(4)); ++i) {
    const auto begin = monotonic_seconds();
    ids = tokenizer.encode(text, given[1], options);
    seconds.push_back(monotonic_seconds() - begin);
  }
  if (given.size() > 5) write_ids(given[5], ids);
  return {{"seconds", seconds}, {"ids", ids.size()}, {"bytes", text.size()}};
}

Json decode(const Arguments& given) {
  const auto tokenizer = read_tokenizer(given.at(0), ErrorKind::data);
  const auto bytes = read(given.at(1));
  Ids ids(bytes.size() / sizeof(std::int32_t));
  std::memcpy(ids.data(), bytes.data(), ids.size() * sizeof(ids[0]));
  const auto text = tokenizer.decode(ids);
  write(given.at(2), text);
  return {{"bytes", text.size()}};
}

Json chunks(const Arguments& given) {
  const auto text = read(given.at(0));
  Ids sizes;
  for (ChunkReader reader(text); !reader.at_end();)
    sizes.push_back(static_cast<std::int32_t>(reader.next().size()));
  write_ids(given.at(1), sizes);
  return {{"chunks", sizes.size()}};
}

Json run(const std::string& what, const Arguments& given) {
  if (what == "train") return train(given);
  if (what == "encode") return encode(given);
  if (what == "decode") return decode(given);
  if (what == "chunks") return chunks(given);
  throw std::runtime_error("no such command: " + what);
}

}  // namespace

int main(int argc, char** argv) {
  try {
    const Arguments given(argv + 1, argv + argc);
    std::cout << moe::json_text(run(given.at(0), {given.begin() + 1, given.end()})) << "\n";
    return 0;
  } catch (const moe::Error& error) {
    std::cerr << error.what() << "\n";
    return error.exit_code();
  } catch (const std::exception& error) {
    std::cerr << "moe_tokens_bench: " << error.what() << "; see bench/tokens.cpp\n";
    return 1;
  }
}
