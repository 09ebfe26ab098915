<<<<<<< HEAD
// The main of a fuzz target where the compiler has no libFuzzer: changes seeds at random and hands
// them over. What a target is, is the same: LLVMFuzzerTestOneInput.
//
//   moe_fuzz_NAME RUNS FIRST_SEED FILE...
//
// A run has one number, from which its input follows: FIRST_SEED and RUNS 1 make it again.

#include <algorithm>
#include <array>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <iterator>
#include <random>
#include <string>
#include <vector>

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size);

namespace {

using Draws = std::mt19937_64;

std::size_t below(Draws& draws, std::size_t end) {
  return end == 0 ? 0 : static_cast<std::size_t>(draws() % end);
}

/// Numbers that sizes, counts and places are wrong with.
std::uint64_t telling_number(Draws& draws) {
  constexpr std::array<std::uint64_t, 12> kNumbers{
      0, 1, 2, 4, 8, 9, 31, 33, 0x7FFFFFFF, 0xFFFFFFFF, 0x7FFFFFFFFFFFFFFF, ~std::uint64_t{0}};
  const auto number = kNumbers[below(draws, kNumbers.size())];
  return below(draws, 3) == 0 ? number << below(draws, 64) : number + below(draws, 3) - 1;
}

void overwrite(std::string& bytes, Draws& draws) {
  const auto at = below(draws, bytes.size());
  const auto number = telling_number(draws);
  const auto width = std::min<std::size_t>(std::size_t{1} << below(draws, 4), bytes.size() - at);
  std::memcpy(bytes.data() + at, &number, width);
}

void change(std::string& bytes, const std::vector<std::string>& seeds, Draws& draws) {
  if (bytes.empty()) return void(bytes = seeds[below(draws, seeds.size())]);
  const auto at = below(draws, bytes.size());
  const auto length = 1 + below(draws, std::min<std::size_t>(64, bytes.size() - at));
  switch (below(draws, 7)) {
    case 0:
      bytes[at] = static_cast<char>(bytes[at] ^ (1 << below(draws, 8)));
      return;
    case 1:
      bytes[at] = static_cast<char>(draws());
      return;
    case 2:
      bytes.erase(at, length);
      return;
    case 3:
      bytes.insert(at, bytes.substr(at, length));
      return;
    case 4: {
      const auto& other = seeds[below(draws, seeds.size())];
      bytes.replace(at, length, other, below(draws, other.size()), length);
      return;
    }
    case 5:
      if (below(draws, 8) == 0) bytes.resize(at);
      return;
    default:
      overwrite(bytes, draws);
  }
}

/// Half of the changes fall into the front, where formats say what they hold.
std::string input_of(std::uint64_t number, const std::vector<std::string>& seeds) {
  Draws draws(number);
  auto bytes = seeds[below(draws, seeds.size())];
  const auto changes = 1 + below(draws, 8);
  for (std::size_t i = 0; i < changes; ++i) {
    if (below(draws, 2) == 0) {
      change(bytes, seeds, draws);
      continue;
    }
    auto front = bytes.substr(0, 2048);
    const auto rest = bytes.substr(front.size());
    change(front, seeds, draws);
    bytes = front + rest;
  }
  return bytes;
}

std::string read_seed(const char* path) {
  std::ifstream in(path, std::ios::binary);
  return std::string(std::istreambuf_iterator<char>(in), {});
}

void run(const std::string& bytes) {
  LLVMFuzzerTestOneInput(reinterpret_cast<const std::uint8_t*>(bytes.data()), bytes.size());
}

}  // namespace

int main(int count, char** arguments) {
  if (count < 4) {
    std::fprintf(stderr, "usage: %s RUNS FIRST_SEED FILE...\n", arguments[0]);
    return 2;
  }
  const auto runs = std::strtoull(arguments[1], nullptr, 10);
  const auto first = std::strtoull(arguments[2], nullptr, 10);
  std::vector<std::string> seeds;
  for (int i = 3; i < count; ++i) seeds.push_back(read_seed(arguments[i]));
  for (const auto& seed : seeds) run(seed);
  const auto* log = std::getenv("MAKEMOE_FUZZ_LOG");  // the number of a run that hangs or dies
  for (auto number = first; number < first + runs; ++number) {
    if (log != nullptr) std::ofstream(log) << number << '\n';
    run(input_of(number, seeds));
  }
=======
// Feeds a reader with changed copies of sound inputs until the time is over:
//   moe_fuzz_NAME SECONDS [SEED [ITERATION]]
// An input is drawn from its number alone, so that SEED and ITERATION make it again.
#include <sanitizer/asan_interface.h>

#include <charconv>
#include <cstdio>
#include <cstdlib>
#include <exception>
#include <string>

#include "moe/base/error.h"
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
  constexpr std::uint64_t kEdges[]{0, 1, 0x7F, 0x80, 0xFF, 0xFFFF, 0x7FFFFFFF, 0x80000000,
                                   0xFFFFFFFF, 0x7FFFFFFFFFFFFFFF, 0x8000000000000000, ~0ULL};
  const auto value = kEdges[draw.below(std::size(kEdges))];
  std::string out;
  for (unsigned i = 0; i < 8; ++i) out += static_cast<char>(value >> (8 * i));
  return out.substr(0, std::size_t{1} << draw.below(4));
}

/// A piece of text that means something to one of the readers.
std::string edge_text(Generator& draw) {
  static const std::vector<std::string> texts{
      "\"",  "{}", "[]", "[[[[", ":",    ",",     "null", "true", "-1",   "1e400", "99999999999999999999",
      "\\u0000", "\\ud800", "\xff", "\xF0\x9F", " ", "\n", "=", "AA==", "256", "\"merges\":[]",
      "\"vocab\":{}", "\"special\":true", "\"id\":-1", "\"<|endoftext|>\""};
  return texts[draw.below(texts.size())];
}

void change_once(std::string& bytes, const std::vector<std::string>& seeds, Generator& draw) {
  const auto at = place_in(bytes, draw);
  const auto length = static_cast<std::size_t>(draw.below(1 + std::min<std::size_t>(64, bytes.size())));
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

int main(int argc, char** argv) {
  if (argc < 2) return std::fprintf(stderr, "usage: SECONDS [SEED [ITERATION]]\n"), 2;
  const auto seconds = static_cast<double>(number(argv[1]));
  if (argc > 2) seed = number(argv[2]);
  __asan_set_death_callback(tell_input);
  const auto seeds = fuzz::seeds();
  for (const auto& sound : seeds) fuzz::read(sound);  // sound ones are no errors
  std::uint64_t refused = 0;
  if (argc > 3) {
    iteration = number(argv[3]);
    read_one(seeds, refused);
    return 0;
  }
  const auto end = monotonic_seconds() + seconds;
  for (; monotonic_seconds() < end; ++iteration) read_one(seeds, refused);
  std::printf("%llu inputs, %llu refused\n", static_cast<unsigned long long>(iteration),
              static_cast<unsigned long long>(refused));
>>>>>>> corpora
  return 0;
}
