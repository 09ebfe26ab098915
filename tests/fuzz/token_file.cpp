// The header of a token file, as it comes and with its checksum mended: without that, nothing but
// the checksum would be tried.
#include "moe/data/token_file.h"

#include <cstdlib>

#include "data/token_header.h"
#include "moe/base/text.h"
#include "tests/fuzz/fuzz.h"
#include "tests/fuzz/memory_file.h"

namespace moe::fuzz {

namespace {

std::string sum_bytes(const std::string& hex) {
  std::string out;
  for (std::size_t i = 0; i < hex.size(); i += 2)
    out += static_cast<char>(std::stoi(hex.substr(i, 2), nullptr, 16));
  return out;
}

/// The same bytes with the checksum that fits them.
std::string mended(std::string bytes) {
  constexpr std::size_t kSum = 40, kJson = 72;
  if (bytes.size() < kTokenHeaderUnit) return bytes;
  const auto header = std::string_view(bytes).substr(0, kTokenHeaderUnit);
  const auto sum = Sha256().update(header.substr(0, kSum)).update(header.substr(kJson)).hex();
  return bytes.replace(kSum, kJson - kSum, sum_bytes(sum));
}

std::string sound_file(std::size_t ids, std::int64_t vocab_size) {
  const std::string data = TokenFileWriter::encoded(Tokens(ids, 5), id_width(vocab_size));
  const std::string sum(64, 'a');
  const TokenFileInfo info{sum,
                           vocab_size,
                           ids,
                           sha256_hex(data),
                           {{"a.txt", 9, sum, sum, {1, 2, 3, 4, 5}}, {"b", 0, sum, sum, {}}}};
  return token_header(info, kTokenHeaderUnit) + data;
}

}  // namespace

std::vector<std::string> seeds() {
  return {sound_file(0, 10), sound_file(7, 300), sound_file(9, 70'000)};
}

void read(std::string_view bytes) {
  static MemoryFile file;
  const auto open = [&](std::string_view content) {
    file.set(content);
    const auto opened = TokenFile::open(file.path());
    for (const auto id : opened.tokens().copy())
      if (id < 0 || id >= opened.info().vocab_size) std::abort();
  };
  try {
    open(bytes);
  } catch (const DataError&) {
    open(mended(std::string(bytes)));
  }
}

}  // namespace moe::fuzz
