#pragma once

#include <cstdint>
#include <memory>
#include <string_view>
#include <vector>

#include "moe/data/bpe_tokenizer.h"

namespace moe {

/// Encodes many texts on one thread: it remembers the ids of chunks that it has seen, in up to
/// about 6 MB. What it answers does not depend on what it remembers.
class BpeEncoder {
 public:
  explicit BpeEncoder(const BpeTokenizer& tokenizer);
  ~BpeEncoder();
  BpeEncoder(BpeEncoder&&) noexcept;
  BpeEncoder& operator=(BpeEncoder&&) noexcept;

  /// Appends the ids of `utf8`, well-formed (checked by the caller), in which special tokens are
  /// ordinary text.
  void append(std::string_view utf8, std::vector<std::int32_t>& ids);

 private:
  struct Cache;
  void append_chunk(std::string_view chunk, std::vector<std::int32_t>& ids);

  std::shared_ptr<const BpeTables> tables_;
  std::unique_ptr<Cache> cache_;
};

}  // namespace moe
