#include <algorithm>
#include <array>
#include <cmath>
#include <numeric>

#include "exchange/gguf_describe.h"
#include "moe/base/text.h"

namespace moe {

namespace {

/// What the keys of an architecture leave to its name.
struct ForeignKind {
  std::string_view name;
  Gate gate;
  bool shared_gate;
};
constexpr std::array<ForeignKind, 7> kForeignKinds{{{"llama", Gate::topk_softmax, false},
                                                    {"qwen3", Gate::topk_softmax, false},
                                                    {"qwen3moe", Gate::topk_softmax, false},
                                                    {"granitemoe", Gate::topk_softmax, false},
                                                    {"qwen2moe", Gate::softmax_topk, true},
                                                    {"glm4moe", Gate::sigmoid, false},
                                                    {"dots1", Gate::sigmoid, false}}};

/// Reads the keys of one architecture.
class ForeignGguf {
 public:
  ForeignGguf(const GgufHeader& header, const GgufValues& values)
      : header_(header), values_(values), kind_(find_kind()) {}

  ModelConfig read() const {
    ModelConfig config;
    config.n_embed = required("embedding_length");
    config.n_layer = required("block_count");
    config.n_head = required("attention.head_count");
    config.block_size = required("context_length");
    if (config.n_layer > std::ssize(header_.tensors))
      refuse("block_count", cat("is ", config.n_layer, ", more than the file has tensors"));
    config.dropout = 0;
    config.norm = NormKind::rms;
    config.positions = Positions::rotary;
    config.rotary_base = values_.number(key("rope.freq_base")).value_or(kUsualBase);
    config.qk_norm = has("blk.0.attn_q_norm.weight") ? QkNorm::head : QkNorm::none;
    config.attention_scale = scale_of(config.n_embed);
    config.bias = false;
    config.tied = !has("output.weight");
    config.moe = mixture();
    return config;
  }

 private:
  static constexpr double kUsualBase = 10'000;

  const ForeignKind& find_kind() const {
    const std::string name = "general.architecture";
    const auto architecture = *values_.required(values_.text(name), name);
    for (const auto& kind : kForeignKinds)
      if (kind.name == architecture) return kind;
    std::vector<std::string> names;
    names.reserve(std::size(kForeignKinds));
    for (const auto& kind : kForeignKinds) names.emplace_back(kind.name);
    values_.refuse(
        name, cat("is \"", printable(architecture), "\", and makemoe has ", join(names, ", ")));
  }

  std::string key(std::string_view name) const { return cat(kind_.name, ".", name); }
  [[noreturn]] void refuse(std::string_view name, const std::string& what) const {
    values_.refuse(key(name), what);
  }
  std::int64_t whole(std::string_view name, std::int64_t otherwise) const {
    return values_.whole(key(name)).value_or(otherwise);
  }
  std::int64_t required(std::string_view name) const {
    const auto value = *values_.required(values_.whole(key(name)), key(name));
    if (value < 1) refuse(name, cat("is ", value));
    return value;
  }
  bool has(std::string_view tensor) const {
    return std::ranges::find(header_.tensors, tensor, &GgufTensor::name) != header_.tensors.end();
  }

  /// Of the two that makemoe has.
  AttentionScale scale_of(std::int64_t width) const {
    constexpr double kNear = 1e-6;  // float32's rounding
    const auto scale = values_.number(key("attention.scale")).value_or(0);
    const auto by_width = 1 / std::sqrt(static_cast<double>(width));
    return std::abs(scale / by_width - 1) < kNear ? AttentionScale::n_embed
                                                  : AttentionScale::head_size;
  }

  MoeConfig mixture() const {
    MoeConfig moe;
    moe.activation = Activation::swiglu;
    moe.router = RouterKind::topk;
    moe.num_experts = whole("expert_count", 0);
    if (moe.num_experts == 0) {
      moe.shared_experts = 1;
      moe.expert_width = required("feed_forward_length");
      return moe;
    }
    moe.top_k = required("expert_used_count");
    moe.gate = kind_.gate;
    moe.expert_width = whole("expert_feed_forward_length", whole("feed_forward_length", 0));
    add_shared(moe);
    if (kind_.gate == Gate::sigmoid) add_sigmoid(moe);
    return moe;
  }

  void add_shared(MoeConfig& moe) const {
    const auto width = whole("expert_shared_feed_forward_length", 0);
    const auto each = *moe.expert_width;
    moe.shared_experts = whole("expert_shared_count", 0);
    moe.shared_gate = kind_.shared_gate;
    if (width == 0) return;
    if (each < 1 || width % each != 0)
      refuse("expert_shared_feed_forward_length",
             cat("is ", width, ", no multiple of an expert's width of ", each));
    moe.shared_experts = width / each;
  }

  void add_sigmoid(MoeConfig& moe) const {
    moe.gate_norm = values_.flag(key("expert_weights_norm")).value_or(false);
    moe.gate_scale = values_.number(key("expert_weights_scale")).value_or(1);
    const auto layers = required("block_count");
    if (has(cat("blk.", layers - 1, ".exp_probs_b.bias")))
      moe.balance = {{.kind = BalanceKind::loss_free}};
    const auto dense = whole("leading_dense_block_count", 0);
    if (dense < 0 || dense > layers)
      refuse("leading_dense_block_count", cat("is ", dense, " of ", layers, " blocks"));
    if (dense == 0) return;
    moe.dense_layers.resize(static_cast<std::size_t>(dense));
    std::iota(moe.dense_layers.begin(), moe.dense_layers.end(), std::int64_t{0});
    moe.dense_width = whole("feed_forward_length", 0);
  }

  const GgufHeader& header_;
  const GgufValues& values_;
  const ForeignKind& kind_;
};

}  // namespace

ModelConfig config_of_foreign_gguf(const GgufHeader& header, const GgufValues& values) {
  return ForeignGguf(header, values).read();
}

}  // namespace moe
