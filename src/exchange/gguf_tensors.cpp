#include "exchange/tensor_parts.h"
#include "moe/base/text.h"
#include "moe/exchange/gguf_model.h"

namespace moe {

namespace {

/// The tensors of one file, one after another.
class GgufTensorWriter {
 public:
  GgufTensorWriter(const ModelSpec& spec, const Twin& twin, KeyValueHeads heads)
      : spec_(spec), twin_(twin), c_(spec.width), key_value_heads_(heads.count) {}

  std::vector<ForeignTensor> write() {
    matrix("token_embd.weight", "token_embedding_table.weight", spec_.vocab, c_);
    vector("output_norm.weight", "ln_f.weight", c_);
    if (!spec_.tied) matrix("output.weight", "lm_head.weight", spec_.vocab, c_);
    for (std::size_t layer = 0; layer < spec_.layers.size(); ++layer) {
      at_ = cat("blk.", layer, ".");
      own_ = cat("blocks.", layer, ".");
      attention(spec_.layers[layer].attention);
      // GLM calls the norm before its experts by what it stands behind.
      vector(is_glm() ? "post_attention_norm.weight" : "ffn_norm.weight", "ln2.weight", c_);
      const auto& feed_forward = spec_.layers[layer].feed_forward;
      if (feed_forward.has_router())
        mixture(feed_forward);
      else
        shared_as_one("", feed_forward);
    }
    return std::move(tensors_);
  }

 private:
  bool is_glm() const { return twin_.architecture == Architecture::glm4_moe; }

  ForeignTensor& add(const std::string& name, std::vector<std::int64_t> shape,
                     std::vector<TensorPart> parts) {
    tensors_.push_back({.name = at_ + name, .shape = std::move(shape), .parts = std::move(parts)});
    return tensors_.back();
  }
  ForeignTensor& matrix(const std::string& name, const std::string& own, std::int64_t rows,
                        std::int64_t columns) {
    return add(name, {rows, columns}, {{{own_ + own}, rows, columns}});
  }
  /// Norms and biases are not worth fewer bits, and llama.cpp computes with all of theirs.
  ForeignTensor& vector(const std::string& name, const std::string& own, std::int64_t size) {
    auto& tensor = add(name, {size}, {{{own_ + own}, size, 1}});
    tensor.keeps_float32 = true;
    return tensor;
  }

  /// One Linear of all heads; `groups` of them are theirs, each of which may be several of ours.
  ForeignTensor& heads(const char* theirs, const char* ours, std::int64_t groups) {
    const auto rows = groups * spec_.layers.front().attention.head_width;
    return add(theirs, {rows, c_}, rows_of_heads(spec_, own_, ours, groups));
  }

  void attention(const AttentionSpec& spec) {
    const bool has_gains = spec.qk_norm == QkNorm::head;
    const bool takes_turns = names_of(twin_.architecture).gguf_permutes;
    vector("attn_norm.weight", "ln1.weight", c_);
    auto& query = heads("attn_q.weight", "query", spec.heads);
    query.takes_turns = takes_turns;
    if (!has_gains) query.factor = twin_.query_factor;
    heads("attn_k.weight", "key", key_value_heads_).takes_turns = takes_turns;
    heads("attn_v.weight", "value", key_value_heads_);
    matrix("attn_output.weight", "sa.proj.weight", c_, c_);
    if (!has_gains) return;
    vector("attn_q_norm.weight", "sa.q_norm.weight", spec.head_width).factor = twin_.query_factor;
    vector("attn_k_norm.weight", "sa.k_norm.weight", spec.head_width);
  }

  std::vector<TensorPart> experts(const char* kind, const char* linear, std::int64_t count,
                                  std::int64_t rows, std::int64_t columns) const {
    std::vector<TensorPart> parts;
    for (std::int64_t expert = 0; expert < count; ++expert)
      parts.push_back(
          {{cat(own_, "smoe.", kind, ".", expert, ".net.", linear, ".weight")}, rows, columns});
    return parts;
  }

  void mixture(const FeedForwardSpec& spec) {
    const auto e = spec.experts, f = spec.width;
    const auto* router = spec.router == RouterKind::noisy_topk ? "topkroute_linear" : "linear";
    matrix("ffn_gate_inp.weight", cat("smoe.router.", router, ".weight"), e, c_).keeps_float32 =
        true;
    if (spec.gate == Gate::sigmoid) choice_bias(spec);
    for (const auto* linear : {"gate", "up"})
      add(cat("ffn_", linear, "_exps.weight"), {e, f, c_}, experts("experts", linear, e, f, c_));
    add("ffn_down_exps.weight", {e, c_, f}, experts("experts", "down", e, c_, f));
    if (spec.shared > 0) shared_as_one("_shexp", spec);
    if (spec.shared_gate) vector("ffn_gate_inp_shexp.weight", "smoe.shared_gate.weight", c_);
  }

  void choice_bias(const FeedForwardSpec& spec) {
    auto& tensor = vector("exp_probs_b.bias", "smoe.router.balance_bias", spec.experts);
    if (!spec.balance.has_bias()) tensor.parts.clear();
  }

  /// The experts that every token has, whose answers are added: one as wide as all of them.
  void shared_as_one(const std::string& suffix, const FeedForwardSpec& spec) {
    const auto count = spec.shared, f = spec.width;
    for (const auto* linear : {"gate", "up"})
      add(cat("ffn_", linear, suffix, ".weight"), {count * f, c_},
          experts("shared", linear, count, f, c_));
    add(cat("ffn_down", suffix, ".weight"), {c_, count * f},
        experts("shared", "down", count, c_, f))
        .join = ForeignTensor::Join::columns;
  }

  const ModelSpec& spec_;
  const Twin& twin_;
  std::int64_t c_, key_value_heads_;
  std::string at_, own_;  // of the layer: "blk.3.", "blocks.3."
  std::vector<ForeignTensor> tensors_;
};

}  // namespace

std::vector<ForeignTensor> gguf_tensors(const ModelSpec& spec, const Twin& twin,
                                        KeyValueHeads heads) {
  return GgufTensorWriter(spec, twin, heads).write();
}

}  // namespace moe
