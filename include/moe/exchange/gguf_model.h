#pragma once

#include <cstdint>
#include <functional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "moe/base/file.h"
#include "moe/config/config.h"
#include "moe/data/tokenizer.h"
#include "moe/exchange/foreign_tensors.h"
#include "moe/exchange/gguf_file.h"
#include "moe/exchange/twin.h"

namespace moe {

/// The tensors of a twin as llama.cpp names them, in the order of its file; `heads` are those of
/// keys and values, fewer than the model's in files of others alone.
std::vector<ForeignTensor> gguf_tensors(const ModelSpec& spec, const Twin& twin,
                                        KeyValueHeads heads);

/// The keys that tell llama.cpp what the model computes: all but those of its tokenizer. The
/// architecture's begin with its name.
GgufKeys gguf_keys(const ModelSpec& spec, const Twin& twin, KeyValueHeads heads);

/// Writes a model that llama.cpp has a twin of: matrices in `type`, but F16 where rows are no whole
/// blocks of it. Router noise is left out, and the file's config has a router without any. Returns
/// a line for each of these things that happened. Throws ConfigError, before anything is written,
/// naming the keys that stand in the way of a twin, or tensors that `type` would make infinite.
std::vector<std::string> export_gguf(const ModelConfig& config, const Tokenizer& tokenizer,
                                     GgmlType type, const ValuesOf& values,
                                     const std::function<void(const ByteSource&)>& write);

/// What a file says of its model.
struct GgufDescription {
  ModelConfig config;
  Tokenizer tokenizer;
  std::vector<ForeignTensor> tensors;
};

/// Of a file of ours, or of another's whose model is one that makemoe can have: its config, with
/// all that only training reads at its default. Every tensor that the model wants is there, in its
/// shape and in a type that is read, and no other. Throws CheckpointError beginning with `where`.
GgufDescription describe_gguf(const GgufHeader& header, std::string_view where);

/// Reads all values into the places of the published tensors. Throws CheckpointError for a file
/// that ends early, and where `finite_only`, for NaN and infinity; nothing else is found here that
/// describe_gguf has not.
void import_gguf(const FileReader& file, const GgufHeader& header,
                 const GgufDescription& description, std::string_view where, bool finite_only,
                 const PlaceOf& places);

}  // namespace moe
