#pragma once

#include <cstddef>
#include <fstream>
#include <string>
#include <vector>

#include "moe/sweep/definition.h"
#include "moe/sweep/queue.h"
#include "tests/base/scratch.h"

namespace moe::sweep::test {

using moe::test::message_of;
using moe::test::Scratch;

inline void write(const std::filesystem::path& path, const std::string& text) {
  std::ofstream(path, std::ios::binary) << text;
}

inline std::string read(const std::filesystem::path& path) {
  return read_file(path, ErrorKind::resource);
}

/// A sweep file's definition, from `text` in a folder with a text to learn from.
inline Definition defined(const Scratch& scratch, const std::string& text) {
  write(scratch / "text.txt", "some text");
  write(scratch / "sweep-file.json", text);
  return load_definition(scratch / "sweep-file.json", (scratch / "text.txt").string());
}

inline Space parsed(const std::string& text) {
  std::vector<std::string> problems;
  auto space = Space::parse(parse_json(text, "space", ErrorKind::config), problems);
  if (!problems.empty()) throw ConfigError(problems.front());
  return space;
}

/// Whether the point has a value of each parameter that is active in it, and no other.
inline bool is_whole(const Space& space, const Point& point) {
  std::size_t active = 0;
  for (const auto& parameter : space.parameters()) {
    if (!space.is_active(parameter, point)) continue;
    if (!point.contains(parameter.key)) return false;
    ++active;
  }
  return active == point.size();
}

/// Six points in order, on one seed.
inline constexpr const char* kGrid = R"({
  "space": {"model.moe.num_experts": {"choices": [2, 4, 8]}, "model.n_layer": {"int": [1, 2]}},
  "strategy": {"kind": "grid"}})";

}  // namespace moe::sweep::test
