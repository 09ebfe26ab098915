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
#include "moe/exchange/gguf_file.h"
#include "moe/exchange/twin.h"

namespace moe {

/// How the published tensors of ours stand in one of llama.cpp's.
enum class GgufJoin {
  rows,          // one after another
  rotary_rows,   // likewise, each with its rows in the order 0, D/2, 1, D/2 + 1, ...
  side_by_side,  // each row is the rows of all of them
  zeros          // there are none: a tensor that llama.cpp wants and our model lacks
};

/// A tensor of llama.cpp's, made of ours.
struct GgufPart {
  std::string name;                 // "blk.0.attn_q.weight"
  std::vector<std::int64_t> shape;  // outermost first
  std::vector<std::string> pieces;  // published names (docs/formats.md), of equal shapes
  GgufJoin join = GgufJoin::rows;
  double factor = 1;         // a power of 2 that our values are multiplied by
  bool is_exact = false;     // stays F32: norms, and all that decides which experts are chosen
  bool is_optional = false;  // another's file may lack it
};

/// All tensors of the twin's file, in its order.
std::vector<GgufPart> gguf_parts(const ModelSpec& spec, const Twin& twin);

/// The keys that tell llama.cpp what the model computes: all but those of its tokenizer. The
/// architecture's begin with its name.
GgufKeys gguf_keys(const ModelSpec& spec, const Twin& twin);

/// The values of a published tensor; they stay where they are.
using PublishedValues = std::function<std::span<const float>(const std::string& name)>;
using PublishedRoom = std::function<std::span<float>(const std::string& name)>;

/// Writes a model that llama.cpp has a twin of: matrices in `type`, but F16 where rows are no whole
/// blocks of it. Router noise is left out, and the file's config has a router without any. Returns
/// a line for each of these things that happened. Throws ConfigError, before anything is written,
/// naming the keys that stand in the way of a twin, or tensors that `type` would make infinite.
std::vector<std::string> export_gguf(const ModelConfig& config, const Tokenizer& tokenizer,
                                     GgmlType type, const PublishedValues& values,
                                     const std::function<void(const ByteSource&)>& write);

/// What a file says of its model.
struct GgufDescription {
  ModelConfig config;
  Tokenizer tokenizer;
  std::vector<GgufPart> parts;
};

/// Of a file of ours, or of another's whose model is one that makemoe can have: its config, with
/// all that only training reads at its default. Every tensor that the model wants is there, in its
/// shape and in a type that is read, and no other. Throws CheckpointError beginning with `where`.
GgufDescription describe_gguf(const GgufHeader& header, std::string_view where);

/// Reads all values into the published tensors' room. Throws CheckpointError for a file that ends
/// early, and where `finite_only`, for NaN and infinity; nothing else is found here that
/// describe_gguf has not.
void import_gguf(const FileReader& file, const GgufHeader& header,
                 const GgufDescription& description, std::string_view where, bool finite_only,
                 const PublishedRoom& room);

}  // namespace moe
