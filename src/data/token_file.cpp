#include "moe/data/token_file.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>

#include <algorithm>
#include <array>
#include <bit>
#include <cerrno>
#include <chrono>
#include <cstring>

#include "data/token_header.h"
#include "moe/base/descriptor.h"
#include "moe/base/text.h"

namespace moe {

static_assert(std::endian::native == std::endian::little, "ids are mapped as they lie in the file");

namespace {

std::string joined_by(const std::vector<TokenSource>& sources, std::string TokenSource::*sum) {
  std::vector<std::string> sums;
  sums.reserve(sources.size());
  for (const auto& source : sources) sums.push_back(source.*sum);
  return joined_sums(sums);
}

template <class Id>
std::int64_t largest_id(std::string_view bytes, std::int64_t largest) {
  for (std::size_t at = 0; at < bytes.size(); at += sizeof(Id)) {
    Id id = 0;
    std::memcpy(&id, bytes.data() + at, sizeof(Id));
    largest = std::max(largest, static_cast<std::int64_t>(id));
  }
  return largest;
}

/// Reads all ids once: by the file, so that their pages do not count as this process's.
void check_ids(const FileReader& file, const FoundHeader& header, const std::string& where) {
  Sha256 sum;
  std::int64_t largest = -1;
  file.read_blocks(header.bytes, file.size(), [&](std::string_view block) {
    sum.update(block);
    largest = header.width == 2 ? largest_id<std::uint16_t>(block, largest)
                                : largest_id<std::uint32_t>(block, largest);
  });
  if (sum.hex() != header.info.data_sha256)
    throw DataError(cat(where, ": its ids are damaged: their sha256 differs; make it anew"));
  if (largest >= header.info.vocab_size)
    throw DataError(cat(where, ": holds the id ", largest, " beyond its vocabulary of ",
                        header.info.vocab_size, "; make it anew"));
}

std::string sha256_of_file(const std::filesystem::path& path) {
  const FileReader file(path, ErrorKind::data);
  Sha256 sum;
  file.read_blocks(0, file.size(), [&](std::string_view block) { sum.update(block); });
  return sum.hex();
}

}  // namespace

/// The bytes of a whole file.
class TokenFile::Mapping {
 public:
  /// `checked`: the file as it was read and found sound.
  Mapping(const std::filesystem::path& path, const FileStamp& checked)
      : size_(static_cast<std::size_t>(checked.size)) {
    const Descriptor file(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
    struct stat status = {};
    if (::fstat(file.get(), &status) != 0 || status.st_ino != checked.inode ||
        status.st_size != checked.size)
      throw DataError(cat(path.string(), ": was written anew while it was read; try again"));
    address_ = ::mmap(nullptr, size_, PROT_READ, MAP_SHARED, file.get(), 0);
    if (address_ == MAP_FAILED)
      throw ResourceError(cat(path.string(), ": cannot be mapped: ", std::strerror(errno),
                              "; check the path and the limit of memory (ulimit -v)"));
  }
  ~Mapping() { ::munmap(address_, size_); }
  Mapping(const Mapping&) = delete;
  Mapping& operator=(const Mapping&) = delete;
  const char* end() const { return static_cast<const char*>(address_) + size_; }

 private:
  void* address_;
  std::size_t size_;
};

std::string TokenFileInfo::files_sum() const { return joined_by(sources, &TokenSource::sha256); }
std::string TokenFileInfo::texts_sum() const {
  return joined_by(sources, &TokenSource::text_sha256);
}

bool is_token_file(const std::filesystem::path& path) {
  if (!is_file(path, ErrorKind::data)) return false;
  const FileReader file(path, ErrorKind::data);
  std::array<char, kTokenMagic.size()> front{};
  if (file.size() < front.size()) return false;
  file.read(0, front);
  return std::string_view(front.data(), front.size()) == kTokenMagic;
}

std::string tokenizer_sum(const Tokenizer& tokenizer) {
  return sha256_hex(json_text(tokenizer.to_json()));
}

std::size_t id_width(std::int64_t vocab_size) {
  constexpr std::int64_t kMostShort = std::int64_t{1} << 16U;
  return vocab_size <= kMostShort ? sizeof(std::uint16_t) : sizeof(std::uint32_t);
}

TokenFile TokenFile::open(const std::filesystem::path& path) {
  const auto stamp = stamp_of(path);
  const FileReader file(path, ErrorKind::data);
  const auto header = read_token_header(file, path.string());
  check_ids(file, header, path.string());
  TokenFile out;
  out.info_ = header.info;
  out.mapping_ = std::make_shared<Mapping>(path, stamp);
  return out;
}

TokenFileInfo TokenFile::read_header(const std::filesystem::path& path) {
  return read_token_header(FileReader(path, ErrorKind::data), path.string()).info;
}

TokenView TokenFile::tokens() const {
  const auto view = [&]<class Id>(Id) {
    const auto* end = reinterpret_cast<const Id*>(mapping_->end());
    return TokenView(std::span<const Id>(end - info_.count, end));
  };
  return id_width(info_.vocab_size) == 2 ? view(std::uint16_t{}) : view(std::int32_t{});
}

HeldTokens::HeldTokens(Tokens tokens) {
  const auto held = std::make_shared<const Tokens>(std::move(tokens));
  view_ = *held;
  bytes_held_ = held->capacity() * sizeof(std::int32_t);
  holder_ = held;
}

HeldTokens::HeldTokens(const TokenFile& file)
    : holder_(std::make_shared<const TokenFile>(file)), view_(file.tokens()) {}

HeldTokens HeldTokens::part(std::size_t begin, std::size_t count) const {
  auto out = *this;
  out.view_ = view_.part(begin, count);
  return out;
}

TokenFileWriter::TokenFileWriter(const std::filesystem::path& path,
                                 std::span<const std::filesystem::path> sources,
                                 std::int64_t vocab_size, FileLayer& files)
    : vocab_size_(vocab_size),
      width_(id_width(vocab_size)),
      header_bytes_(token_header_bytes(sources)),
      file_(path, files) {
  if (header_bytes_ > kMostTokenHeader)
    throw DataError(cat(path.string(), ": the names of ", sources.size(),
                        " files are too long for a token file; join the files"));
  // Zeros: without its magic it is no token file.
  file_.append(std::string(header_bytes_, '\0'));
}

std::string TokenFileWriter::encoded(std::span<const std::int32_t> ids, std::size_t width) {
  std::string out(ids.size() * width, '\0');
  if (width == sizeof(std::int32_t)) {
    std::memcpy(out.data(), ids.data(), out.size());
    return out;
  }
  for (std::size_t i = 0; i < ids.size(); ++i) {
    const auto id = static_cast<std::uint16_t>(ids[i]);
    std::memcpy(out.data() + i * sizeof id, &id, sizeof id);
  }
  return out;
}

void TokenFileWriter::append(std::string_view encoded_ids) {
  sum_.update(encoded_ids);
  bytes_ += encoded_ids.size();
  file_.append(encoded_ids);
}

TokenFileInfo TokenFileWriter::finish(std::string tokenizer, std::vector<TokenSource> sources) {
  TokenFileInfo info{std::move(tokenizer), vocab_size_, count(), sum_.hex(), std::move(sources)};
  file_.overwrite(0, token_header(info, header_bytes_));
  file_.commit();
  return info;
}

FileStamp settled_stamp(const std::filesystem::path& path) {
  constexpr std::int64_t kSettled = 2'000'000'000;  // [ns] clocks of file systems tick in these
  const auto stamp = stamp_of(path);
  const auto now = std::chrono::system_clock::now().time_since_epoch();
  const auto age = std::chrono::nanoseconds(now).count() - stamp.changed_ns;
  return age > kSettled ? stamp : FileStamp{};
}

std::string outdated(const TokenFileInfo& info, std::string_view tokenizer,
                     std::span<const std::filesystem::path> sources) {
  if (info.tokenizer != tokenizer) return "they were made by another tokenizer";
  if (info.sources.size() != sources.size())
    return cat("they were made from ", info.sources.size(), " files, not ", sources.size());
  for (std::size_t i = 0; i < sources.size(); ++i) {
    const auto& known = info.sources[i];
    const auto stamp = stamp_of(sources[i]);
    if (stamp == known.stamp && stamp != FileStamp{}) continue;
    if (static_cast<std::uint64_t>(stamp.size) != known.bytes ||
        sha256_of_file(sources[i]) != known.sha256)
      return cat(printable(sources[i].string(), 300), " has changed");
  }
  return "";
}

}  // namespace moe
