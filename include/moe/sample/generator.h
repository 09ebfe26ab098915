#pragma once

#include <cstdint>
#include <functional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "moe/data/tokenizer.h"
#include "moe/model/language_model.h"
#include "moe/sample/sampler.h"

namespace moe {

struct GenerateOptions {
  SamplerOptions sampler;
  std::int64_t max_new_tokens = 500, num_samples = 1;
  std::vector<std::string> stop;  // ends a sample; the stop text itself is not part of it
  std::uint64_t seed = 0;
  bool specials = false;  // special tokens are shown, and a sample goes on past <|endoftext|>
  bool exact = false;     // beyond block_size too: what block_size tokens alone give
};

struct Sample {
  std::vector<std::int32_t> token_ids;  // the continuation, with the <|endoftext|> that ended it
  std::string text;                     // its text
  std::string finish;                   // "length" or "stop"
};

/// Called with text that is final (whole characters, never part of a stop text), in order, for
/// sample 0 only when there is one sample; return false to end early.
using Stream = std::function<bool(std::string_view)>;

/// Continues `prompt` (not empty), until a stop text or <|endoftext|> if not for max_new_tokens.
/// Within block_size the key-value cache is used. Beyond it the cache slides if the model's
/// positions allow it (SparseMoELanguageModel::extend); if they are learned, or with `exact`, the
/// last block_size tokens are computed anew for each. Sample i draws from its own stream, whatever
/// num_samples is. `stop_request` non-zero throws Interrupted; bad options throw ConfigError,
/// logits that are not finite NumericsError.
std::vector<Sample> generate(SparseMoELanguageModel& model, const Tokenizer& tokenizer,
                             std::span<const std::int32_t> prompt, const GenerateOptions& options,
                             const Stream& stream = {},
                             const std::function<int()>& stop_request = {});

}  // namespace moe
