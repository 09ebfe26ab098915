#include "moe/exchange/foreign_tensors.h"

#include <algorithm>
#include <utility>

#include "exchange/tensor_parts.h"
#include "moe/base/text.h"

namespace moe {

namespace {

using Join = ForeignTensor::Join;

/// An expert's three Linears in the names of others.
struct ExpertNames {
  const char *gate, *up, *down;
};
constexpr ExpertNames kMixtralExpert{"w1", "w3", "w2"};
constexpr ExpertNames kUsualExpert{"gate_proj", "up_proj", "down_proj"};

/// The tensors of one folder, one after another.
class FolderWriter {
 public:
  FolderWriter(const ModelSpec& spec, const Twin& twin, std::int64_t key_value_heads)
      : spec_(spec), twin_(twin), c_(spec.width), key_value_heads_(key_value_heads) {}

  std::vector<ForeignTensor> write() {
    whole("model.embed_tokens.weight", "token_embedding_table.weight", spec_.vocab, c_);
    for (std::size_t layer = 0; layer < spec_.layers.size(); ++layer) {
      own_ = cat("blocks.", layer, ".");
      at_ = cat("model.layers.", layer, ".");
      vector(at_ + "input_layernorm.weight", own_ + "ln1.weight", c_);
      attention(spec_.layers[layer].attention);
      vector(at_ + "post_attention_layernorm.weight", own_ + "ln2.weight", c_);
      feed_forward(spec_.layers[layer].feed_forward);
    }
    vector("model.norm.weight", "ln_f.weight", c_);
    if (!spec_.tied) whole("lm_head.weight", "lm_head.weight", spec_.vocab, c_);
    return std::move(tensors_);
  }

 private:
  ForeignTensor& add(std::string name, std::vector<std::int64_t> shape,
                     std::vector<TensorPart> parts, Join join = Join::rows) {
    tensors_.push_back({std::move(name), std::move(shape), std::move(parts), join});
    return tensors_.back();
  }
  ForeignTensor& whole(std::string name, std::string own, std::int64_t rows, std::int64_t columns) {
    return add(std::move(name), {rows, columns}, {{{std::move(own)}, rows, columns}});
  }
  ForeignTensor& vector(std::string name, std::string own, std::int64_t size) {
    return add(std::move(name), {size}, {{{std::move(own)}, size, 1}});
  }

  /// One Linear of all heads; `groups` of them are theirs, each of which may be several of ours.
  ForeignTensor& heads(const char* theirs, const char* ours, std::int64_t groups) {
    const auto rows = groups * spec_.layers.front().attention.head_width;
    return add(cat(at_, "self_attn.", theirs, ".weight"), {rows, c_},
               rows_of_heads(spec_, own_, ours, groups));
  }

  void attention(const AttentionSpec& spec) {
    const bool has_norm = spec.qk_norm == QkNorm::head;
    auto& query = heads("q_proj", "query", spec.heads);
    if (!has_norm) query.factor = twin_.query_factor;
    heads("k_proj", "key", key_value_heads_);
    heads("v_proj", "value", key_value_heads_);
    whole(at_ + "self_attn.o_proj.weight", own_ + "sa.proj.weight", c_, c_);
    if (!has_norm) return;
    vector(at_ + "self_attn.q_norm.weight", own_ + "sa.q_norm.weight", spec.head_width).factor =
        twin_.query_factor;
    vector(at_ + "self_attn.k_norm.weight", own_ + "sa.k_norm.weight", spec.head_width);
  }

  std::string routed(std::int64_t expert) const { return cat(own_, "smoe.experts.", expert, "."); }
  std::string shared(std::int64_t expert) const { return cat(own_, "smoe.shared.", expert, "."); }
  std::vector<std::string> all_shared(const FeedForwardSpec& spec) const {
    std::vector<std::string> out;
    for (std::int64_t s = 0; s < spec.shared; ++s) out.push_back(shared(s));
    return out;
  }

  /// The gates, or ups, of several of our experts as rows.
  static std::vector<TensorPart> rows_of(const std::vector<std::string>& experts, const char* which,
                                         std::int64_t rows, std::int64_t columns) {
    std::vector<TensorPart> parts;
    parts.reserve(experts.size());
    for (const auto& expert : experts)
      parts.push_back({{cat(expert, "net.", which, ".weight")}, rows, columns});
    return parts;
  }

  /// Several of our experts as one: its hidden values are theirs, one after another.
  void mlp(const std::string& at, const ExpertNames& names, const std::vector<std::string>& experts,
           std::int64_t width) {
    const auto all = std::ssize(experts) * width;
    add(cat(at, names.gate, ".weight"), {all, c_}, rows_of(experts, "gate", width, c_));
    add(cat(at, names.up, ".weight"), {all, c_}, rows_of(experts, "up", width, c_));
    add(cat(at, names.down, ".weight"), {c_, all}, rows_of(experts, "down", c_, width),
        Join::columns);
  }

  void feed_forward(const FeedForwardSpec& spec) {
    if (!spec.has_router()) return mlp(at_ + "mlp.", kUsualExpert, all_shared(spec), spec.width);
    switch (twin_.architecture) {
      case Architecture::mixtral:
        return mixture(at_ + "block_sparse_moe.", kMixtralExpert, spec);
      case Architecture::granite_moe:
      case Architecture::granite_moe_shared:
        return granite(spec);
      default:
        mixture(at_ + "mlp.", kUsualExpert, spec);
        return beside_experts(spec);
    }
  }

  void router(const std::string& name, const FeedForwardSpec& spec) {
    const auto* ours = spec.router == RouterKind::noisy_topk ? "topkroute_linear" : "linear";
    whole(name, cat(own_, "smoe.router.", ours, ".weight"), spec.experts, c_);
  }

  void mixture(const std::string& at, const ExpertNames& names, const FeedForwardSpec& spec) {
    router(at + "gate.weight", spec);
    for (std::int64_t e = 0; e < spec.experts; ++e)
      mlp(cat(at, "experts.", e, "."), names, {routed(e)}, spec.width);
  }

  /// What the usual mixtures have besides: shared experts, their gate, a bias of the choice.
  void beside_experts(const FeedForwardSpec& spec) {
    const bool is_qwen2 = twin_.architecture == Architecture::qwen2_moe;
    if (spec.gate == Gate::sigmoid) choice_bias(spec);
    if (spec.shared == 0) return;
    mlp(cat(at_, "mlp.", is_qwen2 ? "shared_expert." : "shared_experts."), kUsualExpert,
        all_shared(spec), spec.width);
    if (spec.shared_gate)
      whole(at_ + "mlp.shared_expert_gate.weight", own_ + "smoe.shared_gate.weight", 1, c_);
  }

  void choice_bias(const FeedForwardSpec& spec) {
    const auto name = at_ + "mlp.gate.e_score_correction_bias";
    auto& tensor = spec.balance.has_bias()
                       ? vector(name, own_ + "smoe.router.balance_bias", spec.experts)
                       : add(name, {spec.experts}, {});
    tensor.keeps_float32 = true;
  }

  /// Experts in one tensor, gates above ups.
  void granite(const FeedForwardSpec& spec) {
    const auto at = at_ + "block_sparse_moe.";
    const auto f = spec.width, e = spec.experts;
    router(at + "router.layer.weight", spec);
    std::vector<TensorPart> in, out;
    for (std::int64_t expert = 0; expert < e; ++expert) {
      for (const auto* which : {"gate", "up"})
        in.push_back(rows_of({routed(expert)}, which, f, c_).front());
      out.push_back(rows_of({routed(expert)}, "down", c_, f).front());
    }
    add(at + "input_linear.weight", {e, 2 * f, c_}, std::move(in));
    add(at + "output_linear.weight", {e, c_, f}, std::move(out));
    if (spec.shared == 0) return;
    const auto experts = all_shared(spec);
    auto both = rows_of(experts, "gate", f, c_);
    std::ranges::copy(rows_of(experts, "up", f, c_), std::back_inserter(both));
    add(at_ + "shared_mlp.input_linear.weight", {2 * spec.shared * f, c_}, std::move(both));
    add(at_ + "shared_mlp.output_linear.weight", {c_, spec.shared * f},
        rows_of(experts, "down", c_, f), Join::columns);
  }

  const ModelSpec& spec_;
  const Twin& twin_;
  std::int64_t c_, key_value_heads_;
  std::string own_, at_;  // of the layer: "blocks.3.", "model.layers.3."
  std::vector<ForeignTensor> tensors_;
};

std::size_t place(std::int64_t i) { return static_cast<std::size_t>(i); }

/// Calls use(part, row, place of the row in the tensor) for every row of every part.
template <class Use>
void for_each_row(const ForeignTensor& tensor, const Use& use) {
  std::int64_t width = 0;
  for (const auto& part : tensor.parts) width += part.columns;
  std::int64_t before = 0;
  for (const auto& part : tensor.parts) {
    const bool beside = tensor.join == Join::columns;
    const auto half = part.rows / 2;
    for (std::int64_t row = 0; row < part.rows; ++row) {
      const auto to = tensor.takes_turns ? row % half * 2 + row / half : row;
      use(part, row, before + to * (beside ? width : part.columns));
    }
    before += beside ? part.columns : part.rows * part.columns;
  }
}

}  // namespace

std::int64_t ForeignTensor::numel() const {
  std::int64_t count = 1;
  for (const auto size : shape) count *= size;
  return count;
}

std::vector<ForeignTensor> folder_tensors(const ModelSpec& spec, const Twin& twin) {
  return folder_tensors(spec, twin, {spec.layers.front().attention.heads});
}

std::vector<ForeignTensor> folder_tensors(const ModelSpec& spec, const Twin& twin,
                                          KeyValueHeads heads) {
  return FolderWriter(spec, twin, heads.count).write();
}

std::vector<float> gather(const ForeignTensor& tensor, const ValuesOf& ours) {
  std::vector<float> out(place(tensor.numel()));
  const auto factor = static_cast<float>(tensor.factor);
  for_each_row(tensor, [&](const TensorPart& part, std::int64_t row, std::int64_t to) {
    const auto from = ours(part.names.front()).subspan(place(row * part.columns));
    for (std::int64_t i = 0; i < part.columns; ++i) out[place(to + i)] = from[place(i)] * factor;
  });
  return out;
}

void scatter(const ForeignTensor& tensor, std::span<const float> values, const PlaceOf& ours) {
  const auto factor = static_cast<float>(1 / tensor.factor);
  for_each_row(tensor, [&](const TensorPart& part, std::int64_t row, std::int64_t from) {
    for (const auto& name : part.names) {
      const auto to = ours(name).subspan(place(row * part.columns));
      for (std::int64_t i = 0; i < part.columns; ++i)
        to[place(i)] = values[place(from + i)] * factor;
    }
  });
}

std::vector<TensorPart> rows_of_heads(const ModelSpec& spec, const std::string& own,
                                      const char* ours, std::int64_t groups) {
  const auto& attention = spec.layers.front().attention;
  const auto in_group = attention.heads / groups;
  std::vector<TensorPart> parts;
  for (std::int64_t group = 0; group < groups; ++group) {
    parts.push_back({{}, attention.head_width, spec.width});
    for (auto head = group * in_group; head < (group + 1) * in_group; ++head)
      parts.back().names.push_back(cat(own, "sa.heads.", head, ".", ours, ".weight"));
  }
  return parts;
}

std::string shape_text(std::span<const std::int64_t> shape) {
  std::vector<std::string> sizes;
  sizes.reserve(shape.size());
  for (const auto size : shape) sizes.push_back(cat(size));
  return cat("(", join(sizes, ", "), ")");
}

}  // namespace moe
