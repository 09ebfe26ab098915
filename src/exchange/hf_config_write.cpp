#include "exchange/spec_json.h"
#include "exchange/without_noise.h"
#include "moe/config/load.h"
#include "moe/exchange/hf_config.h"

namespace moe {

namespace {

/// What every folder says. Both versions of a name are written where transformers changed one with
/// its version 5: dtype, and the base of rotary positions.
Json general(const ModelSpec& spec, std::string_view class_name, std::string_view model_type,
             const FolderFacts& facts) {
  const auto& attention = spec.layers.front().attention;
  const Json end = facts.end_of_text ? Json(*facts.end_of_text) : Json(nullptr);
  return {{"architectures", {class_name}},
          {"model_type", model_type},
          {"vocab_size", spec.vocab},
          {"hidden_size", spec.width},
          {"num_hidden_layers", spec.layers.size()},
          {"num_attention_heads", attention.heads},
          {"num_key_value_heads", attention.heads},
          {"head_dim", attention.head_width},
          {"max_position_embeddings", spec.context},
          {"tie_word_embeddings", spec.tied},
          {"bos_token_id", end},
          {"eos_token_id", end},
          {"pad_token_id", nullptr},
          {"torch_dtype", facts.dtype},
          {"dtype", facts.dtype}};
}

Json rotary_json(double base) { return {{"rope_type", "default"}, {"rope_theta", base}}; }

const FeedForwardSpec& mixture_of(const ModelSpec& spec, const Twin& twin) {
  std::size_t layer = 0;  // the first that is not among the dense ones
  while (layer < twin.dense_layers.size() &&
         twin.dense_layers[layer] == static_cast<std::int64_t>(layer))
    ++layer;
  return spec.layers[layer < spec.layers.size() ? layer : 0].feed_forward;
}

/// Width of the plain MLPs, which must be something where there are none.
std::int64_t dense_width(const Twin& twin) {
  return twin.dense_width > 0 ? twin.dense_width : twin.expert_width;
}

Json qwen_mixture(const Twin& twin, const FeedForwardSpec& mixture) {
  return {{"intermediate_size", dense_width(twin)},
          {"moe_intermediate_size", twin.expert_width},
          {"num_experts", twin.experts},
          {"num_experts_per_tok", twin.top_k},
          {"norm_topk_prob", mixture.gate == Gate::topk_softmax},
          {"decoder_sparse_step", 1},
          {"mlp_only_layers", twin.dense_layers},
          {"use_sliding_window", false}};
}

Json local_mixture(const Twin& twin) {
  return {{"intermediate_size", twin.expert_width},
          {"num_local_experts", twin.experts},
          {"num_experts_per_tok", twin.top_k}};
}

Json granite_mixture(const Twin& twin) {
  auto json = local_mixture(twin);
  json.update({{"attention_multiplier", twin.attention_scale},
               {"embedding_multiplier", 1.0},
               {"logits_scaling", 1.0},
               {"residual_multiplier", 1.0}});
  return json;
}

Json sigmoid_mixture(const Twin& twin, const FeedForwardSpec& mixture) {
  return {{"intermediate_size", dense_width(twin)},
          {"moe_intermediate_size", twin.expert_width},
          {"n_routed_experts", twin.experts},
          {"n_shared_experts", mixture.shared},
          {"num_experts_per_tok", twin.top_k},
          {"first_k_dense_replace", twin.dense_layers.size()},
          {"n_group", 1},
          {"topk_group", 1},
          {"norm_topk_prob", mixture.gate_norm},
          {"routed_scaling_factor", mixture.gate_scale}};
}

/// What an architecture says about its layers.
Json layers_json(const ModelSpec& spec, const Twin& twin) {
  const auto& mixture = mixture_of(spec, twin);
  Json json = Json::object();
  switch (twin.architecture) {
    case Architecture::llama:
      return {{"intermediate_size", twin.dense_width}, {"mlp_bias", false}};
    case Architecture::qwen3:
      return {{"intermediate_size", twin.dense_width}, {"use_sliding_window", false}};
    case Architecture::mixtral:
      json = local_mixture(twin);
      json["sliding_window"] = nullptr;
      return json;
    case Architecture::qwen3_moe:
      return qwen_mixture(twin, mixture);
    case Architecture::qwen2_moe:
      json = qwen_mixture(twin, mixture);
      json["shared_expert_intermediate_size"] = twin.shared_width;
      json["qkv_bias"] = false;
      return json;
    case Architecture::granite_moe:
      return granite_mixture(twin);
    case Architecture::granite_moe_shared:
      json = granite_mixture(twin);
      json["shared_intermediate_size"] = twin.shared_width;
      return json;
    case Architecture::glm4_moe:
      json = sigmoid_mixture(twin, mixture);
      json["use_qk_norm"] = false;
      json["num_nextn_predict_layers"] = 0;
      json["partial_rotary_factor"] = 1.0;
      return json;
    case Architecture::dots1:
      json = sigmoid_mixture(twin, mixture);
      json["sliding_window"] = nullptr;
      json["layer_types"] = std::vector<std::string>(spec.layers.size(), "full_attention");
      return json;
  }
  return json;
}

Json section_of(const ModelConfig& model) {
  RunConfig config;
  config.model = model;
  return {{"model", config_to_json(config)["model"]}};
}

}  // namespace

Json twin_config(const ModelConfig& model, const ModelSpec& spec, const Twin& twin,
                 const FolderFacts& facts) {
  const auto& names = names_of(twin.architecture);
  auto json = general(spec, names.class_name, names.model_type, facts);
  const auto base = *spec.layers.front().attention.rotary_base;
  auto rotary = rotary_json(base);
  if (twin.architecture == Architecture::glm4_moe) rotary["partial_rotary_factor"] = 1.0;
  json.update({{"hidden_act", "silu"},
               {"rms_norm_eps", spec.norm.eps},
               {"rope_theta", base},
               {"rope_parameters", rotary},
               {"attention_bias", false},
               {"attention_dropout", 0.0}});
  json.update(layers_json(spec, twin));
  json[kOwnModelType] = section_of(without_noise(model));
  return json;
}

Json own_config(const ModelConfig& model, const ModelSpec& spec, const FolderFacts& facts) {
  auto json = general(spec, "MakemoeForCausalLM", kOwnModelType, facts);
  json["auto_map"] = {{"AutoConfig", "configuration_makemoe.MakemoeConfig"},
                      {"AutoModelForCausalLM", "modeling_makemoe.MakemoeForCausalLM"}};
  json["use_cache"] = false;
  json["spec"] = spec_json(spec);
  json[kOwnModelType] = section_of(model);
  return json;
}

}  // namespace moe
