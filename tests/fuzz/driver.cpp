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
  return 0;
}
