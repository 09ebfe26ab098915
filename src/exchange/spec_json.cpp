#include "exchange/spec_json.h"

namespace moe {

namespace {

template <class Enum>
Json name_in_files(Enum value) {
  return EnumNames<Enum>::names[static_cast<std::size_t>(value)];
}

Json attention_json(const AttentionSpec& spec) {
  return {{"heads", spec.heads},
          {"head_width", spec.head_width},
          {"scale", spec.scale},
          {"bias", spec.bias},
          {"qk_norm", name_in_files(spec.qk_norm)},
          {"rotary_base", spec.rotary_base ? Json(*spec.rotary_base) : Json(nullptr)},
          {"short_conv", spec.short_conv},
          {"gives_values", spec.gives_values},
          {"mixes_values", spec.mixes_values}};
}

Json feed_forward_json(const FeedForwardSpec& spec) {
  return {{"experts", spec.experts},
          {"top_k", spec.top_k},
          {"shared", spec.shared},
          {"shared_gate", spec.shared_gate},
          {"width", spec.width},
          {"activation", name_in_files(spec.activation)},
          {"bias", spec.bias},
          {"router", name_in_files(spec.router)},
          {"noise_in_eval", spec.noise_in_eval},
          {"gate", name_in_files(spec.gate)},
          {"gate_norm", spec.gate_norm},
          {"gate_scale", spec.gate_scale},
          {"balance_bias", spec.balance.has_bias()},
          {"short_conv", spec.short_conv}};
}

}  // namespace

Json spec_json(const ModelSpec& spec) {
  Json layers = Json::array(), ngrams = Json::array();
  for (const auto& layer : spec.layers)
    layers.push_back({{"attention", attention_json(layer.attention)},
                      {"feed_forward", feed_forward_json(layer.feed_forward)}});
  for (const auto& keys : spec.ngrams)
    ngrams.push_back({{"order", keys.order}, {"rows", keys.rows()}});
  return {{"vocab", spec.vocab},
          {"width", spec.width},
          {"context", spec.context},
          {"position_table", spec.position_table},
          {"norm", {{"kind", name_in_files(spec.norm.kind)}, {"eps", spec.norm.eps}}},
          {"bias", spec.bias},
          {"tied", spec.tied},
          {"x0_shortcut", spec.x0_shortcut},
          {"ngrams", ngrams},
          {"layers", layers}};
}

}  // namespace moe
