// Feeds a reader with changed copies of sound inputs, so many, or for so many seconds:
//   moe_fuzz_NAME COUNT|SECONDSs [SEED [FIRST]]
// An input is drawn from SEED and its number alone, so that COUNT 1 and FIRST make it again.
#include <sanitizer/asan_interface.h>

#include <charconv>
#include <cstdio>
#include <cstdlib>
#include <exception>
#include <filesystem>
#include <string>

#include "moe/base/error.h"
#include "moe/base/file.h"
#include "moe/base/random.h"
#include "moe/base/system.h"
#include "tests/fuzz/fuzz.h"

namespace {

using namespace moe;

std::uint64_t seed = 1, iteration = 0;

void tell_input() {
  std::fprintf(stderr, "the input is that of SEED %llu ITERATION %llu\n",
               static_cast<unsigned long long>(seed), static_cast<unsigned long long>(iteration));
}

std::size_t place_in(const std::string& bytes, Generator& draw) {
  return bytes.empty() ? 0 : static_cast<std::size_t>(draw.below(bytes.size()));
}

/// Numbers at which readers go wrong, little-endian.
std::string edge_number(Generator& draw) {
  constexpr std::uint64_t kEdges[]{0,
                                   1,
                                   0x7F,
                                   0x80,
                                   0xFF,
                                   0xFFFF,
                                   0x7FFFFFFF,
                                   0x80000000,
                                   0xFFFFFFFF,
                                   0x7FFFFFFFFFFFFFFF,
                                   0x8000000000000000,
                                   ~0ULL};
  const auto value = kEdges[draw.below(std::size(kEdges))];
  std::string out;
  for (unsigned i = 0; i < 8; ++i) out += static_cast<char>(value >> (8 * i));
  return out.substr(0, std::size_t{1} << draw.below(4));
}

/// A piece of text that means something to one of the readers.
std::string edge_text(Generator& draw) {
  static const std::vector<std::string> texts{"\"",
                                              "{}",
                                              "[]",
                                              "[[[[",
                                              ":",
                                              ",",
                                              "null",
                                              "true",
                                              "-1",
                                              "1e400",
                                              "99999999999999999999",
                                              "\\u0000",
                                              "\\ud800",
                                              "\xff",
                                              "\xF0\x9F",
                                              " ",
                                              "\n",
                                              "=",
                                              "AA==",
                                              "256",
                                              "\"merges\":[]",
                                              "\"vocab\":{}",
                                              "\"special\":true",
                                              "\"id\":-1",
                                              "\"<|endoftext|>\""};
  return texts[draw.below(texts.size())];
}

void change_once(std::string& bytes, const std::vector<std::string>& seeds, Generator& draw) {
  const auto at = place_in(bytes, draw);
  const auto length =
      static_cast<std::size_t>(draw.below(1 + std::min<std::size_t>(64, bytes.size())));
  switch (draw.below(8)) {
    case 0:
      if (!bytes.empty()) bytes[at] = static_cast<char>(bytes[at] ^ (1 << draw.below(8)));
      break;
    case 1:
      if (!bytes.empty()) bytes[at] = static_cast<char>(draw.below(256));
      break;
    case 2:
      bytes.erase(at, length);
      break;
    case 3:
      bytes.insert(at, bytes.substr(place_in(bytes, draw), length));
      break;
    case 4: {
      const auto number = edge_number(draw);
      bytes.replace(at, number.size(), number);
      break;
    }
    case 5:
      bytes.insert(at, edge_text(draw));
      break;
    case 6: {
      const auto& other = seeds[draw.below(seeds.size())];
      bytes.replace(at, length, other, place_in(other, draw), length);
      break;
    }
    default:
      bytes.resize(at);
  }
}

std::string input(const std::vector<std::string>& seeds) {
  Generator draw(stream_key(seed, "fuzz", iteration));
  auto bytes = seeds[draw.below(seeds.size())];
  const auto changes = 1 + draw.below(8);
  for (std::uint64_t i = 0; i < changes; ++i) change_once(bytes, seeds, draw);
  return bytes;
}

void read_one(const std::vector<std::string>& seeds, std::uint64_t& refused) {
  try {
    fuzz::read(input(seeds));
  } catch (const Error& error) {
    ++refused;
    if (std::string_view(error.what()).find(": ") == std::string_view::npos) {
      std::fprintf(stderr, "no place in the message: %s\n", error.what());
      tell_input();
      std::exit(1);
    }
  } catch (const std::exception& error) {
    std::fprintf(stderr, "an exception that is no Error: %s\n", error.what());
    tell_input();
    std::exit(1);
  }
}

std::uint64_t number(const char* text) { return std::strtoull(text, nullptr, 10); }

}  // namespace

std::vector<std::string> moe::fuzz::golden(const std::vector<std::string>& names) {
  const auto* source = std::getenv("MAKEMOE_SOURCE_DIR");
  const auto folder = std::filesystem::path(source != nullptr ? source : ".") / "tests" / "golden";
  std::vector<std::string> out;
  for (const auto& name : names) out.push_back(read_file(folder / name, ErrorKind::data));
  return out;
}

int main(int argc, char** argv) {
  if (argc < 2) return std::fprintf(stderr, "usage: COUNT|SECONDSs [SEED [FIRST]]\n"), 2;
  const bool by_time = std::string_view(argv[1]).ends_with('s');
  const auto limit = number(argv[1]);
  if (argc > 2) seed = number(argv[2]);
  if (argc > 3) iteration = number(argv[3]);
  __asan_set_death_callback(tell_input);
  const auto seeds = fuzz::seeds();
  for (const auto& sound : seeds) fuzz::read(sound);  // sound ones are no errors
  std::uint64_t refused = 0, count = 0;
  const auto end = monotonic_seconds() + static_cast<double>(limit);
  for (; by_time ? monotonic_seconds() < end : count < limit; ++count, ++iteration)
    read_one(seeds, refused);
  std::printf("%llu inputs, %llu refused\n", static_cast<unsigned long long>(count),
              static_cast<unsigned long long>(refused));
  return 0;
}
