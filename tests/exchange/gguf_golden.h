#pragma once

#include <cstdlib>
#include <filesystem>
#include <stdexcept>
#include <string>
#include <vector>

#include "moe/exchange/gguf_file.h"

namespace moe::test {

/// tests/golden/gguf.gguf: what the Python package gguf writes (tests/golden/write_gguf.py).
class GgufGolden {
 public:
  GgufGolden() : file_(path(), ErrorKind::checkpoint), header_(read_gguf(file_, "golden")) {}

  static std::filesystem::path path() {
    const auto* source = std::getenv("MAKEMOE_SOURCE_DIR");
    return std::filesystem::path(source != nullptr ? source : ".") / "tests" / "golden" /
           "gguf.gguf";
  }
  const GgufHeader& header() const { return header_; }
  const GgufTensor& tensor(const std::string& name) const {
    for (const auto& one : header_.tensors)
      if (one.name == name) return one;
    throw std::runtime_error("no golden tensor " + name);
  }
  std::string bytes(const std::string& name) const {
    std::string out(tensor(name).end - tensor(name).begin, '\0');
    file_.read(tensor(name).begin, out);
    return out;
  }
  std::vector<float> values(const std::string& name) const {
    std::vector<float> out;
    read_gguf_values(file_, tensor(name), "golden", [&](std::span<const float> piece) {
      out.insert(out.end(), piece.begin(), piece.end());
    });
    return out;
  }

 private:
  FileReader file_;
  GgufHeader header_;
};

}  // namespace moe::test
