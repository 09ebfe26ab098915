#include "moe/train/run_texts.h"

#include <ATen/Parallel.h>
#include <malloc.h>

#include <algorithm>

#include "moe/base/sha256.h"
#include "moe/base/text.h"
#include "moe/config/load.h"
#include "moe/data/prepare.h"
#include "moe/data/sources.h"

namespace moe {

namespace {

bool is_pipe(const fs::path& path) { return type_of(path, ErrorKind::data) == fs::file_type::fifo; }

/// Of regular files; others have no size before they are read.
std::uint64_t bytes_of(const RunText& text) {
  std::uint64_t bytes = 0;
  for (const auto& source : text.sources)
    bytes += static_cast<std::uint64_t>(stamp_of(source).size);
  return bytes;
}

RunText look_at(const TextNames& names, const char* flag, Log& log) {
  RunText text{names.shown(),
               find_sources(names.all(), cat("check the path, or name the text with ", flag))};
  if (text.sources.size() == 1 && is_token_file(text.sources.front()))
    text.kind = RunText::Kind::token_file;
  for (const auto& source : text.sources)
    if (is_pipe(source))
      log.warn(cat(source.string(),
                   ": is a pipe, which can be read only once; to resume the run or to evaluate "
                   "it, give the same text as a file with ",
                   flag));
  return text;
}

bool may_stay_on_disk(const RunText& text) {
  return text.kind != RunText::Kind::token_file && std::ranges::none_of(text.sources, is_pipe);
}

void read_into(RunText& text, Log& log) {
  const bool is_only = text.sources.size() == 1;
  for (const auto& source : text.sources) {
    const auto where = source.string();
    if (!is_only && stamp_of(source).size == 0 && is_file(source, ErrorKind::data)) {
      log.warn(where + ": is empty, and left out");
      text.held.push_back({"", sha256_hex(""), sha256_hex(""), {}});
      continue;
    }
    auto one = read_text(source);
    for (const auto& notice : one.notices) log.warn(cat(where, ": ", notice));
    text.held.push_back(std::move(one));
  }
  if (text.bytes_held() == 0) throw DataError(text.name + ": is empty; give it some text");
}

/// The ids' file of these texts by this tokenizer.
fs::path cached_name(const RunText& text, std::string_view tokenizer, const TokenPlace& place) {
  constexpr std::size_t kDigits = 16;
  Sha256 sum;
  sum.update(tokenizer);
  for (const auto& source : text.sources) sum.update("\n").update(absolute_path(source).string());
  return place.folder / cat("ids-", sum.hex().substr(0, kDigits), ".tokens");
}

/// The ids that are kept, if they are sound and of these texts.
std::optional<TokenFile> find_cached(const fs::path& path, const RunText& text,
                                     std::string_view tokenizer, Log& log) {
  if (!is_there(path, ErrorKind::data)) return std::nullopt;
  try {
    const auto why = outdated(TokenFile::read_header(path), tokenizer, text.sources);
    if (why.empty()) return TokenFile::open(path);
    log.info(cat(path.string(), ": is made anew, since ", why));
  } catch (const DataError& error) {
    log.warn(cat(error.what(), " (it is made anew)"));
  }
  return std::nullopt;
}

TokenFile cached_tokens(const RunText& text, const Tokenizer& tokenizer, ErrorKind unknown,
                        Log& log, const TokenPlace& place) {
  const auto sum = tokenizer_sum(tokenizer);
  const auto path = cached_name(text, sum, place);
  if (auto found = find_cached(path, text, sum, log)) return *found;
  place.files.make_folder(place.folder);
  log.info(cat(text.name, ": its ids are written to ", path.string()));
  const auto info = prepare_tokens({text.sources, &tokenizer, at::get_num_threads(), unknown}, path,
                                   place.files, log);
  log.info(cat(path.string(), ": ", grouped(static_cast<long long>(info.count)), " tokens"));
  ::malloc_trim(0);  // what was held while they were made would stay this process's
  return TokenFile::open(path);
}

/// A file that data.path names itself.
TokenFile named_tokens(const RunText& text, const Tokenizer& tokenizer) {
  auto file = TokenFile::open(text.sources.front());
  if (file.info().tokenizer != tokenizer_sum(tokenizer))
    throw DataError(cat(text.name,
                        ": its ids were made by another tokenizer than this run's; name that one "
                        "with --set data.tokenizer=FILE, or give the text"));
  return file;
}

}  // namespace

std::string RunText::joined(std::string_view separator) {
  std::string out;
  bool is_first = true;
  for (auto& text : held) {
    if (text.utf8.empty()) continue;
    if (is_first) {
      out = std::move(text.utf8);
    } else {
      out += separator;
      out += text.utf8;
    }
    is_first = false;
    text.utf8 = {};
  }
  return out;
}

DataSums RunText::sums_of_held() const {
  std::vector<std::string> files, texts;
  for (const auto& text : held) {
    files.push_back(text.sha256);
    texts.push_back(text.text_sha256);
  }
  return {joined_sums(files), joined_sums(texts)};
}

std::size_t RunText::bytes_held() const {
  std::size_t bytes = 0;
  for (const auto& text : held) bytes += text.utf8.size();
  return bytes;
}

DataSums RunTexts::sums_of_held() const {
  auto sums = text.sums_of_held();
  if (!val) return sums;
  const auto more = val->sums_of_held();
  return {sums.files + more.files, sums.texts + more.texts};
}

bool stay_on_disk(const DataConfig& data, std::uint64_t bytes) {
  return !data.cache.empty() || bytes > kMostTextHeld;
}

RunText read_text_of(const TextNames& names, const char* flag, Log& log) {
  auto text = look_at(names, flag, log);
  if (text.kind != RunText::Kind::token_file) read_into(text, log);
  return text;
}

RunTexts read_texts(const RunConfig& config, Log& log, const TokenPlace* place) {
  const auto& data = config.data;
  if (data.path.empty())
    throw DataError(
        "data.path: no text is named; give --data FILE, or run data/fetch.sh and give --data "
        "data/tinyshakespeare.txt");
  for (const auto* names : {&data.path, &data.val_path})
    for (const auto& name : names->all()) require_recordable(name);
  RunTexts texts{look_at(data.path, "--data FILE", log), {}};
  if (!data.val_path.empty()) texts.val = look_at(data.val_path, "--set data.val_path=FILE", log);
  const auto bytes = bytes_of(texts.text) + (texts.val ? bytes_of(*texts.val) : 0);
  const bool are_large = place != nullptr && stay_on_disk(data, bytes);
  for (auto* text : {&texts.text, texts.val ? &*texts.val : nullptr}) {
    if (text == nullptr || text->kind == RunText::Kind::token_file) continue;
    if (are_large && may_stay_on_disk(*text))
      text->kind = RunText::Kind::on_disk;
    else
      read_into(*text, log);
  }
  return texts;
}

EncodedText encode_text(RunText text, const Tokenizer& tokenizer, ErrorKind unknown, Log& log,
                        const TokenPlace* place) {
  if (text.kind == RunText::Kind::held) {
    auto sums = text.sums_of_held();
    const auto utf8 = text.joined(separator_of(tokenizer));
    return {tokenizer.encode(utf8, text.name, {SpecialText::token, at::get_num_threads(), unknown}),
            std::move(sums)};
  }
  const auto file = text.kind == RunText::Kind::token_file
                        ? named_tokens(text, tokenizer)
                        : cached_tokens(text, tokenizer, unknown, log, *place);
  return {HeldTokens(file), {file.info().files_sum(), file.info().texts_sum()}};
}

std::string_view separator_of(const Tokenizer& tokenizer) {
  return tokenizer.end_id() ? kEndOfText : "";
}

}  // namespace moe
