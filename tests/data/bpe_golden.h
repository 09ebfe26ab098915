#pragma once

#include <cstdlib>
#include <filesystem>
#include <string>

#include "moe/base/json.h"
#include "moe/base/sha256.h"

namespace moe::test {

/// tests/golden/bpe.json: what Hugging Face's tokenizers says (tests/golden/write_bpe.py).
inline const Json& bpe_golden() {
  static const auto golden = [] {
    const auto* source = std::getenv("MAKEMOE_SOURCE_DIR");
    const auto folder = std::filesystem::path(source != nullptr ? source : ".");
    return read_json(folder / "tests" / "golden" / "bpe.json", ErrorKind::data);
  }();
  return golden;
}

}  // namespace moe::test
