#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "moe/base/json.h"
#include "moe/config/config.h"
#include "moe/exchange/twin.h"

namespace moe {

// config.json of a folder of transformers, both ways.

/// What a model's folder is to say besides the model.
struct FolderFacts {
  std::string dtype;                        // "float32", "bfloat16" or "float16"
  std::optional<std::int32_t> end_of_text;  // the id that ends a text
};

/// The model_type of folders that bring their own model.
inline constexpr std::string_view kOwnModelType = "makemoe";

/// config.json of a twin. `model` is kept in it beside what transformers reads: import finds there
/// what others have no words for.
Json twin_config(const ModelConfig& model, const ModelSpec& spec, const Twin& twin,
                 const FolderFacts& facts);
/// The same of a model without a twin, which modeling_makemoe.py computes.
Json own_config(const ModelConfig& model, const ModelSpec& spec, const FolderFacts& facts);

/// A folder's model, as far as config.json tells.
struct FolderModel {
  ModelConfig model;
  std::int64_t vocab = 0;
  bool is_own = false;  // of kOwnModelType: tensors have their published names
  std::optional<std::int64_t> key_value_heads;  // where there are fewer than heads
  std::vector<std::string> notices;             // what was passed over
};

/// Reads config.json of ours or of others. Throws CheckpointError beginning with `where`, with all
/// that we cannot do, key by key.
FolderModel read_folder_config(const Json& json, std::string_view where);

}  // namespace moe
