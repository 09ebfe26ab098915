#pragma once

#include <string_view>

#include "moe/data/tokenizer.h"
#include "moe/exchange/gguf_file.h"

namespace moe {

/// Adds the keys tokenizer.ggml.*, with which llama.cpp makes the ids that `tokenizer` makes.
/// Characters are its tokenizer "rwkv", which has no special tokens and takes texts as they are;
/// byte-level BPE is "gpt2". Throws ConfigError for a BPE tokenizer that llama.cpp has no twin of:
/// one without special tokens (it would take token 11 for the end of a text), or one whose merges
/// do not lead to all of its tokens.
void add_gguf_tokenizer(const Tokenizer& tokenizer, GgufKeys& keys);

/// The reverse, of what is written here and of files of others whose tokenizer is one that we have.
/// Throws CheckpointError beginning with `where`.
Tokenizer read_gguf_tokenizer(const GgufKeys& keys, std::string_view where);

}  // namespace moe
