#include "moe/base/text.h"
#include "moe/exchange/gguf_model.h"

namespace moe {

namespace {

/// Lists the tensors of one file.
class GgufPartWriter {
 public:
  GgufPartWriter(const ModelSpec& spec, const Twin& twin) : spec_(spec), twin_(twin) {}

  std::vector<GgufPart> write() {
    matrix("token_embd.weight", {spec_.vocab, spec_.width}, {"token_embedding_table.weight"});
    vector("output_norm.weight", spec_.width, "ln_f.weight");
    if (!spec_.tied) matrix("output.weight", {spec_.vocab, spec_.width}, {"lm_head.weight"});
    for (std::size_t layer = 0; layer < spec_.layers.size(); ++layer) {
      file_ = cat("blk.", layer, ".");
      ours_ = cat("blocks.", layer, ".");
      attention(spec_.layers[layer].attention);
      vector(has_post_norm() ? "post_attention_norm.weight" : "ffn_norm.weight", spec_.width,
             "ln2.weight");
      const auto& feed_forward = spec_.layers[layer].feed_forward;
      if (feed_forward.has_router())
        mixture(feed_forward);
      else
        experts_as_one("", feed_forward);
    }
    return std::move(parts_);
  }

 private:
  /// GLM calls the norm before a mixture by what it stands behind.
  bool has_post_norm() const { return twin_.architecture == Architecture::glm4_moe; }
  bool has_choice_bias() const {
    return has_post_norm() || twin_.architecture == Architecture::dots1;
  }

  GgufPart& add(const std::string& name, std::vector<std::int64_t> shape,
                std::vector<std::string> pieces) {
    for (auto& piece : pieces) piece.insert(0, ours_);
    parts_.push_back(
        {.name = file_ + name, .shape = std::move(shape), .pieces = std::move(pieces)});
    return parts_.back();
  }
  GgufPart& matrix(const std::string& name, std::vector<std::int64_t> shape,
                   std::vector<std::string> pieces) {
    return add(name, std::move(shape), std::move(pieces));
  }
  GgufPart& vector(const std::string& name, std::int64_t width, const std::string& piece) {
    auto& part = add(name, {width}, {piece});
    part.is_exact = true;
    return part;
  }

  void attention(const AttentionSpec& spec) {
    const auto inner = spec.heads * spec.head_width;
    const bool has_gains = spec.qk_norm != QkNorm::none;
    const auto rotary =
        names_of(twin_.architecture).gguf_permutes ? GgufJoin::rotary_rows : GgufJoin::rows;
    vector("attn_norm.weight", spec_.width, "ln1.weight");
    auto& query = matrix("attn_q.weight", {inner, spec_.width}, heads("query", spec.heads));
    query.join = rotary;
    if (!has_gains) query.factor = twin_.query_factor;
    matrix("attn_k.weight", {inner, spec_.width}, heads("key", spec.heads)).join = rotary;
    matrix("attn_v.weight", {inner, spec_.width}, heads("value", spec.heads));
    matrix("attn_output.weight", {spec_.width, inner}, {"sa.proj.weight"});
    if (!has_gains) return;
    vector("attn_q_norm.weight", spec.head_width, "sa.q_norm.weight").factor = twin_.query_factor;
    vector("attn_k_norm.weight", spec.head_width, "sa.k_norm.weight");
  }

  static std::vector<std::string> heads(const char* what, std::int64_t count) {
    std::vector<std::string> out;
    for (std::int64_t head = 0; head < count; ++head)
      out.push_back(cat("sa.heads.", head, ".", what, ".weight"));
    return out;
  }

  static std::vector<std::string> experts(const char* kind, const char* linear,
                                          std::int64_t count) {
    std::vector<std::string> out;
    for (std::int64_t expert = 0; expert < count; ++expert)
      out.push_back(cat("smoe.", kind, ".", expert, ".net.", linear, ".weight"));
    return out;
  }

  void mixture(const FeedForwardSpec& spec) {
    const auto* router = spec.router == RouterKind::noisy_topk ? "topkroute_linear" : "linear";
    matrix("ffn_gate_inp.weight", {spec.experts, spec_.width},
           {cat("smoe.router.", router, ".weight")})
        .is_exact = true;
    if (has_choice_bias()) choice_bias(spec);
    stack("gate", {spec.experts, spec.width, spec_.width}, spec.experts);
    stack("up", {spec.experts, spec.width, spec_.width}, spec.experts);
    stack("down", {spec.experts, spec_.width, spec.width}, spec.experts);
    if (spec.shared > 0) experts_as_one("_shexp", spec);
    if (spec.shared_gate)
      vector("ffn_gate_inp_shexp.weight", spec_.width, "smoe.shared_gate.weight");
  }

  void stack(const char* linear, std::vector<std::int64_t> shape, std::int64_t count) {
    matrix(cat("ffn_", linear, "_exps.weight"), std::move(shape),
           experts("experts", linear, count));
  }

  void choice_bias(const FeedForwardSpec& spec) {
    auto& part = vector("exp_probs_b.bias", spec.experts, "smoe.router.balance_bias");
    if (spec.balance.has_bias()) return;
    part.pieces.clear();
    part.join = GgufJoin::zeros;
  }

  /// The experts that every token has, whose answers are added: one that is as wide as all of them.
  void experts_as_one(const std::string& suffix, const FeedForwardSpec& spec) {
    const auto width = spec.shared * spec.width;
    for (const auto* linear : {"gate", "up"})
      matrix(cat("ffn_", linear, suffix, ".weight"), {width, spec_.width},
             experts("shared", linear, spec.shared));
    matrix(cat("ffn_down", suffix, ".weight"), {spec_.width, width},
           experts("shared", "down", spec.shared))
        .join = GgufJoin::side_by_side;
  }

  const ModelSpec& spec_;
  const Twin& twin_;
  std::string file_, ours_;  // what names begin with
  std::vector<GgufPart> parts_;
};

}  // namespace

std::vector<GgufPart> gguf_parts(const ModelSpec& spec, const Twin& twin) {
  return GgufPartWriter(spec, twin).write();
}

}  // namespace moe
