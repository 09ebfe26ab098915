#include "moe/data/prepare.h"

#include <algorithm>
#include <array>
#include <memory>
#include <optional>
#include <utility>

#include "data/source_batches.h"
#include "data/workers.h"
#include "moe/base/interrupt.h"
#include "moe/base/text.h"
#include "moe/data/utf8.h"

namespace moe {

namespace {

/// Encodes on one thread.
class PartEncoder {
 public:
  PartEncoder(const Tokenizer& tokenizer, ErrorKind unknown)
      : tokenizer_(tokenizer), unknown_(unknown) {
    if (tokenizer.bpe() != nullptr) bpe_.emplace(*tokenizer.bpe());
  }
  void append(const TextPart& part, std::string_view where, std::vector<std::int32_t>& ids) {
    if (bpe_) return append_part(*bpe_, part, ids);
    const auto own = tokenizer_.characters()->encode(part.text, where, unknown_);
    ids.insert(ids.end(), own.begin(), own.end());
  }

 private:
  const Tokenizer& tokenizer_;
  ErrorKind unknown_;
  std::optional<BpeEncoder> bpe_;
};

/// Reads a batch, encodes the one before and writes the one before that, all at once.
class Preparation {
 public:
  Preparation(const PrepareRequest& request, const std::filesystem::path& out, FileLayer& files)
      : request_(request),
        batches_(request.sources, *request.tokenizer, request.batch_bytes),
        writer_(out, request.sources, request.tokenizer->vocab_size(), files) {
    for (int i = 0; i < request.threads; ++i)
      encoders_.emplace_back(*request.tokenizer, request.unknown);
  }

  /// Whether there is more to do.
  bool step() {
    auto& reading = turns_[turn_ % 3];
    auto& encoding = turns_[(turn_ + 2) % 3];
    auto& writing = turns_[(turn_ + 1) % 3];
    encoding.encoded.resize(encoding.groups.size());
    share_work(request_.threads, encoding.groups.size() + 2,
               [&](std::size_t worker, std::size_t item) {
                 if (item == 0) return batches_.read(reading);
                 if (item == 1) return write(writing);
                 encode(encoders_[worker], encoding, item - 2);
               });
    ++turn_;
    return !reading.groups.empty() || !encoding.groups.empty() || !batches_.is_done();
  }

  const SourceBatches& batches() const { return batches_; }
  TokenFileInfo finish() {
    return writer_.finish(tokenizer_sum(*request_.tokenizer), batches_.sources());
  }

 private:
  void encode(PartEncoder& encoder, SourceBatch& batch, std::size_t index) {
    const auto& group = batch.groups[index];
    const auto where = request_.sources[group.source].string();
    std::vector<std::int32_t> ids;
    ids.reserve(kPieceOfWork);
    for (auto part = group.begin; part < group.end; ++part)
      encoder.append(batch.parts[part], where, ids);
    batch.encoded[index] =
        TokenFileWriter::encoded(ids, id_width(request_.tokenizer->vocab_size()));
  }

  void write(SourceBatch& batch) {
    std::string together;
    for (auto& group : batch.encoded) together += std::exchange(group, {});
    if (!together.empty()) writer_.append(together);
    batch.clear();
  }

  const PrepareRequest& request_;
  SourceBatches batches_;
  TokenFileWriter writer_;
  std::vector<PartEncoder> encoders_;
  std::array<SourceBatch, 3> turns_;
  std::size_t turn_ = 0;
};

void stop_if_asked() {
  if (stop_signal() != 0) throw Interrupted(stop_signal());
}

void show_progress(const SourceBatches& batches, std::string_view what, Log& log) {
  const auto all = std::max<std::uint64_t>(batches.bytes_in_all(), 1);
  log.live(cat(what, " ", 100 * std::min(batches.bytes_read(), all) / all, " % of ",
               human_bytes(static_cast<double>(all))));
}

void warn_of(const std::vector<std::string>& notices, Log& log) {
  constexpr std::size_t kMostShown = 5;
  for (std::size_t i = 0; i < std::min(notices.size(), kMostShown); ++i) log.warn(notices[i]);
  if (notices.size() > kMostShown)
    log.warn(cat("and ", notices.size() - kMostShown, " more notices like these"));
}

/// Removes the live line however the work ends.
class LiveLine {
 public:
  explicit LiveLine(Log& log) : log_(log) {}
  ~LiveLine() { log_.live(""); }
  LiveLine(const LiveLine&) = delete;
  LiveLine& operator=(const LiveLine&) = delete;

 private:
  Log& log_;
};

}  // namespace

TokenFileInfo prepare_tokens(const PrepareRequest& request, const std::filesystem::path& out,
                             FileLayer& files, Log& log) {
  const LiveLine live(log);
  for (const auto& source : request.sources)
    if (!is_utf8(source.native()))
      throw DataError(cat(printable(source.string(), 300),
                          ": this name is not UTF-8, so that the token file cannot hold it; rename "
                          "it, or link to it: ln -s FILE NAME"));
  Preparation work(request, out, files);
  while (work.step()) {
    stop_if_asked();
    show_progress(work.batches(), "encoding", log);
  }
  stop_if_asked();
  if (work.batches().bytes_of_text() == 0)
    throw DataError(cat(request.sources.front().string(), ": is empty; give it some text"));
  warn_of(work.batches().notices(), log);
  return work.finish();
}

CharTokenizer characters_of(const std::vector<std::filesystem::path>& sources, Log& log) {
  const LiveLine live(log);
  std::vector<bool> is_there(kCodePoints, false);
  for (const auto& path : sources) {
    TextReader reader(path);
    std::string text;
    for (bool more = true; more;) {
      stop_if_asked();
      more = reader.append(text);
      for (std::string_view rest = text; !rest.empty();) is_there[take_symbol(rest)] = true;
      text.clear();
      log.live(cat("looking for characters in ", path.string()));
    }
  }
  return CharTokenizer::from_symbols(is_there);
}

}  // namespace moe
