#include "data/token_header.h"

#include <algorithm>
#include <array>
#include <limits>
#include <stdexcept>

#include "moe/base/json.h"
#include "moe/base/text.h"

namespace moe {

namespace {

constexpr std::uint64_t kVersion = 1;
constexpr std::size_t kSumAt = 40, kJsonAt = 72, kSumDigits = 64;
constexpr const char* kMakeAnew = "; make it anew with makemoe data prepare";

void put_number(std::string& out, std::uint64_t value, std::size_t bytes) {
  for (std::size_t i = 0; i < bytes; ++i) out += static_cast<char>(value >> (8 * i));
}

std::uint64_t number_at(std::string_view bytes, std::size_t at, std::size_t size) {
  std::uint64_t value = 0;
  for (std::size_t i = 0; i < size; ++i)
    value |= std::uint64_t{static_cast<unsigned char>(bytes[at + i])} << (8 * i);
  return value;
}

std::string sum_of_header(std::string_view header) {
  const auto hex = Sha256().update(header.substr(0, kSumAt)).update(header.substr(kJsonAt)).hex();
  std::string out;
  for (std::size_t i = 0; i < hex.size(); i += 2)
    out += static_cast<char>(std::stoi(hex.substr(i, 2), nullptr, 16));
  return out;
}

Json stamp_to_json(const FileStamp& stamp) {
  return {stamp.device, stamp.inode, stamp.size, stamp.modified_ns, stamp.changed_ns};
}

Json info_to_json(const TokenFileInfo& info) {
  auto sources = Json::array();
  for (const auto& one : info.sources)
    sources.push_back({{"path", one.path},
                       {"bytes", one.bytes},
                       {"sha256", one.sha256},
                       {"text_sha256", one.text_sha256},
                       {"stamp", stamp_to_json(one.stamp)}});
  return {{"tokenizer", info.tokenizer},
          {"vocab_size", info.vocab_size},
          {"data_sha256", info.data_sha256},
          {"sources", std::move(sources)}};
}

/// Reads the members of a header's JSON; what does not fit is refused.
class HeaderReader {
 public:
  explicit HeaderReader(const std::string& where) : where_(where) {}

  TokenFileInfo info_of(const Json& json) const {
    TokenFileInfo info;
    info.tokenizer = sum_in(json, "tokenizer");
    info.vocab_size = static_cast<std::int64_t>(number_in(json, "vocab_size", kLargest));
    info.data_sha256 = sum_in(json, "data_sha256");
    const auto& sources = member(json, "sources");
    if (!sources.is_array()) refuse("\"sources\" is no list");
    for (const auto& one : sources) info.sources.push_back(source_of(one));
    return info;
  }

 private:
  static constexpr std::uint64_t kLargest = std::uint64_t{1} << 31U;  // an id is an int32

  [[noreturn]] void refuse(const std::string& what) const {
    throw DataError(cat(where_, ": its header is damaged: ", what, kMakeAnew));
  }
  const Json& member(const Json& json, const char* key) const {
    const auto found = json.is_object() ? json.find(key) : json.end();
    if (!json.is_object() || found == json.end()) refuse(cat("\"", key, "\" is missing"));
    return *found;
  }
  std::uint64_t number_in(const Json& json, const char* key, std::uint64_t most) const {
    const auto& value = member(json, key);
    if (!value.is_number_unsigned() || value.get<std::uint64_t>() > most)
      refuse(cat("\"", key, "\" is ", shown(value)));
    return value.get<std::uint64_t>();
  }
  std::string text_in(const Json& json, const char* key) const {
    const auto& value = member(json, key);
    if (!value.is_string()) refuse(cat("\"", key, "\" is ", shown(value)));
    return value.get<std::string>();
  }
  std::string sum_in(const Json& json, const char* key) const {
    auto text = text_in(json, key);
    if (text.size() != kSumDigits ||
        text.find_first_not_of("0123456789abcdef") != std::string::npos)
      refuse(cat("\"", key, "\" is no sha256"));
    return text;
  }
  FileStamp stamp_in(const Json& json) const {
    const auto& list = member(json, "stamp");
    const auto is_number = [](const Json& one) { return one.is_number_integer(); };
    if (!list.is_array() || list.size() != 5 || !std::ranges::all_of(list, is_number))
      refuse("\"stamp\" is no list of five numbers");
    return {list[0].get<std::uint64_t>(), list[1].get<std::uint64_t>(), list[2].get<std::int64_t>(),
            list[3].get<std::int64_t>(), list[4].get<std::int64_t>()};
  }
  TokenSource source_of(const Json& json) const {
    return {text_in(json, "path"),
            number_in(json, "bytes", std::numeric_limits<std::int64_t>::max()),
            sum_in(json, "sha256"), sum_in(json, "text_sha256"), stamp_in(json)};
  }

  const std::string& where_;
};

/// The numbers before the checksum.
struct FrontNumbers {
  std::uint64_t version, width, count, bytes, json;
};

/// Refuses what cannot be, before anything of the sizes that it names is made.
FrontNumbers read_front(const FileReader& file, const std::string& where) {
  std::array<char, kJsonAt> bytes{};
  const std::string_view front(bytes.data(), bytes.size());
  if (file.size() >= bytes.size()) file.read(0, bytes);
  if (!front.starts_with(kTokenMagic))
    throw DataError(cat(where, ": is no token file, or was never finished", kMakeAnew));
  const FrontNumbers out{number_at(front, 8, 4), number_at(front, 12, 4), number_at(front, 16, 8),
                         number_at(front, 24, 8), number_at(front, 32, 8)};
  if (out.version != kVersion)
    throw DataError(cat(where, ": is a token file of version ", out.version,
                        ", and this program knows ", kVersion, kMakeAnew));
  if ((out.width != 2 && out.width != 4) || out.bytes % kTokenHeaderUnit != 0 || out.bytes == 0 ||
      out.bytes > kMostTokenHeader || out.json > out.bytes - kJsonAt)
    throw DataError(cat(where, ": its header is damaged: its sizes do not fit", kMakeAnew));
  if (file.size() < out.bytes || (file.size() - out.bytes) / out.width != out.count ||
      (file.size() - out.bytes) % out.width != 0)
    throw DataError(cat(where, ": has ", file.size(), " bytes, which are not its header and its ",
                        out.count, " ids of ", out.width, " bytes", kMakeAnew));
  return out;
}

}  // namespace

std::string token_header(const TokenFileInfo& info, std::size_t bytes) {
  const auto json = json_text(info_to_json(info));
  if (kJsonAt + json.size() > bytes) throw std::logic_error("token_header: no room for the JSON");
  std::string out(kTokenMagic);
  put_number(out, kVersion, 4);
  put_number(out, id_width(info.vocab_size), 4);
  put_number(out, info.count, 8);
  put_number(out, bytes, 8);
  put_number(out, json.size(), 8);
  out.resize(kJsonAt, '\0');
  out += json;
  out.resize(bytes, ' ');
  return out.replace(kSumAt, kJsonAt - kSumAt, sum_of_header(out));
}

std::size_t token_header_bytes(std::span<const std::filesystem::path> sources) {
  constexpr auto kMost = std::numeric_limits<std::int64_t>::min();  // has the most digits
  constexpr auto kMostUnsigned = std::numeric_limits<std::uint64_t>::max();
  const std::string sum(kSumDigits, '0');
  TokenFileInfo info{sum, std::numeric_limits<std::int32_t>::max(), 0, sum, {}};
  for (const auto& path : sources)
    info.sources.push_back({path.string(),
                            kMostUnsigned,
                            sum,
                            sum,
                            {kMostUnsigned, kMostUnsigned, kMost, kMost, kMost}});
  const auto needed = kJsonAt + json_text(info_to_json(info)).size();
  return (needed + kTokenHeaderUnit - 1) / kTokenHeaderUnit * kTokenHeaderUnit;
}

FoundHeader read_token_header(const FileReader& file, const std::string& where) {
  const auto front = read_front(file, where);
  std::string header(front.bytes, '\0');
  file.read(0, header);
  if (std::string_view(header).substr(kSumAt, kJsonAt - kSumAt) != sum_of_header(header))
    throw DataError(cat(where, ": its header is damaged: its checksum differs", kMakeAnew));
  const auto json =
      parse_json(std::string_view(header).substr(kJsonAt, front.json), where + ": header",
                 ErrorKind::data, {.max_bytes = kMostTokenHeader, .max_depth = 4});
  FoundHeader found{HeaderReader(where).info_of(json), front.width, front.bytes};
  found.info.count = front.count;
  if (id_width(found.info.vocab_size) != front.width)
    throw DataError(cat(where, ": its header is damaged: ids of ", front.width, " bytes for ",
                        found.info.vocab_size, " tokens", kMakeAnew));
  return found;
}

}  // namespace moe
