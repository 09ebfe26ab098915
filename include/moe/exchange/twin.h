#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "moe/spec/model_spec.h"

namespace moe {

/// Who is to read a model that is written for others.
enum class Reader { transformers, llama_cpp };

/// Models of others that compute what some of ours compute.
enum class Architecture {
  llama,
  qwen3,
  mixtral,
  qwen3_moe,
  granite_moe,
  granite_moe_shared,
  qwen2_moe,
  glm4_moe,
  dots1,
};

/// How others call an architecture.
struct ArchitectureNames {
  std::string_view model_type;  // of config.json: "qwen3_moe"
  std::string_view class_name;  // of transformers: "Qwen3MoeForCausalLM"
  std::string_view gguf;        // general.architecture: "qwen3moe"
  /// Whether llama.cpp rotates neighbours instead of halves: rows of each head of queries and keys
  /// then stand in its files in the order 0, D/2, 1, D/2 + 1, ...
  bool gguf_permutes;
};
const ArchitectureNames& names_of(Architecture architecture);

/// A model of others that computes what ours computes in evaluation, router noise left out.
struct Twin {
  Architecture architecture;
  double attention_scale;  // that the reader multiplies scores by
  /// A power of 2 that the gain of queries is multiplied by, or without qk_norm their weights: what
  /// the reader's scale lacks of ours.
  double query_factor;
  std::int64_t experts, top_k, expert_width;  // 0 without a mixture
  std::int64_t shared_width;  // of the shared experts of a mixture as one: their widths' sum
  std::vector<std::int64_t> dense_layers;  // from 0, ascending; all without a mixture
  std::int64_t dense_width;                // of one of these as one; 0: there are none
};

/// A twin, or else the config keys that stand in the way of the nearest one: at least one then.
struct TwinAnswer {
  std::optional<Twin> twin;
  std::vector<std::string> obstacles;  // "model.norm", ...
};

/// Looks for the twin that `reader` knows.
TwinAnswer find_twin(const ModelSpec& spec, Reader reader);

}  // namespace moe
