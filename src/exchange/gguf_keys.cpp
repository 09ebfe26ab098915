#include "moe/base/text.h"
#include "moe/exchange/gguf_model.h"

namespace moe {

namespace {

constexpr std::uint32_t kSigmoidGates = 2;  // ggml's number; of softmax the architectures say it

std::uint32_t number_of(std::int64_t value) { return static_cast<std::uint32_t>(value); }

class GgufKeyWriter {
 public:
  GgufKeyWriter(const ModelSpec& spec, const Twin& twin, KeyValueHeads heads)
      : spec_(spec),
        twin_(twin),
        key_value_heads_(heads.count),
        name_(names_of(twin.architecture).gguf) {}

  GgufKeys write() {
    keys_.add("general.architecture", name_);
    shape();
    attention(spec_.layers.front().attention);
    if (twin_.experts > 0) mixture(spec_.layers.back().feed_forward);
    if (is_any({Architecture::granite_moe, Architecture::granite_moe_shared})) granite();
    return std::move(keys_);
  }

 private:
  bool is_any(std::initializer_list<Architecture> architectures) const {
    for (const auto one : architectures)
      if (one == twin_.architecture) return true;
    return false;
  }
  void add(const char* key, GgufValue value) { keys_.add(cat(name_, ".", key), std::move(value)); }
  void whole(const char* key, std::int64_t value) { add(key, number_of(value)); }

  /// Dense layers before those with a mixture have a width of their own.
  std::int64_t feed_forward_length() const {
    return twin_.dense_width > 0 ? twin_.dense_width : twin_.expert_width;
  }

  void shape() {
    whole("vocab_size", spec_.vocab);
    whole("context_length", spec_.context);
    whole("embedding_length", spec_.width);
    whole("block_count", std::ssize(spec_.layers));
    whole("feed_forward_length", feed_forward_length());
  }

  void attention(const AttentionSpec& spec) {
    whole("attention.head_count", spec.heads);
    whole("attention.head_count_kv", key_value_heads_);
    whole("attention.key_length", spec.head_width);
    whole("attention.value_length", spec.head_width);
    add("attention.layer_norm_rms_epsilon", static_cast<float>(spec_.norm.eps));
    whole("rope.dimension_count", spec.head_width);
    add("rope.freq_base", static_cast<float>(*spec.rotary_base));
  }

  void mixture(const FeedForwardSpec& spec) {
    whole("expert_count", spec.experts);
    whole("expert_used_count", spec.top_k);
    if (!names_of(twin_.architecture).gguf_permutes)  // llama and granite have one width alone
      whole("expert_feed_forward_length", spec.width);
    if (is_any({Architecture::granite_moe_shared, Architecture::qwen2_moe}))
      whole("expert_shared_feed_forward_length", twin_.shared_width);
    if (is_any({Architecture::glm4_moe, Architecture::dots1})) sigmoid_mixture(spec);
  }

  void sigmoid_mixture(const FeedForwardSpec& spec) {
    whole("expert_shared_count", spec.shared);
    whole("leading_dense_block_count", std::ssize(twin_.dense_layers));
    add("expert_gating_func", kSigmoidGates);
    add("expert_weights_norm", spec.gate_norm);
    add("expert_weights_scale", static_cast<float>(spec.gate_scale));
  }

  void granite() {
    add("attention.scale", static_cast<float>(twin_.attention_scale));
    for (const auto* key : {"embedding_scale", "residual_scale", "logit_scale"}) add(key, 1.0F);
  }

  const ModelSpec& spec_;
  const Twin& twin_;
  std::int64_t key_value_heads_;
  std::string name_;
  GgufKeys keys_;
};

}  // namespace

GgufKeys gguf_keys(const ModelSpec& spec, const Twin& twin, KeyValueHeads heads) {
  return GgufKeyWriter(spec, twin, heads).write();
}

}  // namespace moe
