#include "exchange/hf_config_keys.h"

#include <algorithm>
#include <array>
#include <cmath>

#include "exchange/config_fields.h"
#include "moe/base/text.h"

namespace moe {

namespace {

/// Keys that decide nothing about what a model computes in evaluation, or that say what the files
/// beside config.json say too.
constexpr std::array kPassedOver{"architectures",
                                 "attention_dropout",
                                 "bos_token_id",
                                 "dtype",
                                 "eos_token_id",
                                 "initializer_range",
                                 "makemoe",
                                 "max_window_layers",
                                 "output_router_logits",
                                 "pad_token_id",
                                 "pretraining_tp",
                                 "router_aux_loss_coef",
                                 "router_jitter_noise",
                                 "torch_dtype",
                                 "transformers_version",
                                 "use_cache"};

/// The keys of one config.json, turned into ours.
class FolderConfigReader {
 public:
  FolderConfigReader(const Json& json, Architecture architecture)
      : fields_(json), architecture_(architecture) {}

  FolderKeys read() {
    for (const auto* key : kPassedOver) fields_.pass_over(key);
    fields_.pass_over("model_type");
    shape();
    rotary();
    refuse_what_we_lack();
    feed_forward();
    return {std::move(out_), fields_.problems(), fields_.unread()};
  }

 private:
  bool is(Architecture one) const { return architecture_ == one; }
  ModelConfig& model() { return out_.model; }

  void shape() {
    auto& m = model();
    out_.vocab = fields_.count("vocab_size", 1);
    m.n_embed = fields_.count("hidden_size", 1);
    m.n_layer = fields_.count("num_hidden_layers", 1);
    m.n_head = fields_.count("num_attention_heads", 1);
    m.block_size = fields_.count("max_position_embeddings", 1);
    m.dropout = 0;  // theirs are trained without
    m.norm = NormKind::rms;
    m.bias = false;
    m.tied = fields_.flag("tie_word_embeddings", false);
    const bool optional = is(Architecture::glm4_moe);
    const bool has_norm = is(Architecture::qwen3) || is(Architecture::qwen3_moe) ||
                          is(Architecture::dots1) ||
                          (optional && fields_.flag("use_qk_norm", false));
    m.qk_norm = has_norm ? QkNorm::head : QkNorm::none;
    heads();
    constexpr double kEps = 1e-6;
    if (const auto eps = fields_.number("rms_norm_eps"); eps != kEps)
      fields_.add_problem(cat("\"rms_norm_eps\" is ", eps, ", of which we have ", kEps, " alone"));
  }

  void heads() {
    const auto heads = model().n_head, width = model().n_embed;
    if (heads < 1 || width < 1) return;  // already a problem
    if (width % heads != 0)
      fields_.add_problem(
          cat("\"hidden_size\" ", width, " is no multiple of the ", heads, " heads"));
    fields_.require("head_dim", width / heads);
    const auto groups = fields_.count("num_key_value_heads", 1, heads);
    if (groups > 0 && (heads % groups != 0 || groups > heads))
      fields_.add_problem(
          cat("\"num_key_value_heads\" ", groups, " does not divide the ", heads, " heads"));
    else if (groups < heads)
      out_.key_value_heads = groups;
  }

  void rotary() {
    model().positions = Positions::rotary;
    const auto& parameters = fields_.value("rope_parameters");
    std::optional<double> base;
    if (parameters.is_object()) base = rotary_parameters(parameters);
    if (base)
      fields_.pass_over("rope_theta");
    else
      base = fields_.number("rope_theta");
    model().rotary_base = *base;
    fields_.require("rope_scaling", nullptr);
    fields_.require("partial_rotary_factor", 1.0);
    const auto& scaling = fields_.value("rope_scaling");
    if (!scaling.is_null())
      fields_.add_problem(cat("\"rope_scaling\" is ", shown(scaling), ", of which we have none"));
  }

  /// The base that newer folders name there, if they do.
  std::optional<double> rotary_parameters(const Json& object) {
    ConfigFields inner(object);
    inner.require("rope_type", "default");
    inner.require("partial_rotary_factor", 1.0);
    std::optional<double> base;
    if (object.contains("rope_theta")) base = inner.number("rope_theta");
    for (const auto& problem : inner.problems()) fields_.add_problem("rope_parameters: " + problem);
    for (const auto& key : inner.unread())
      fields_.add_problem(cat("rope_parameters: \"", key, "\" is unknown"));
    return base;
  }

  void refuse_what_we_lack() {
    fields_.require("hidden_act", "silu");
    for (const auto* key : {"attention_bias", "mlp_bias", "qkv_bias", "use_sliding_window"})
      fields_.require(key, false);
    for (const auto* key : {"embedding_multiplier", "logits_scaling", "residual_multiplier"})
      fields_.require(key, 1.0);
    for (const auto* key : {"decoder_sparse_step", "n_group", "topk_group"})
      fields_.require(key, 1);
    fields_.require("num_nextn_predict_layers", 0);
    for (const auto* key : {"quantization_config", "clip_qkv"})
      if (!fields_.value(key).is_null())
        fields_.add_problem(cat("\"", key, "\" is there, which we do not have"));
    attention_windows();
    if (is(Architecture::qwen2_moe) && fields_.value("qkv_bias").is_null())
      fields_.add_problem("\"qkv_bias\" is missing, which means true, and we have false alone");
  }

  /// A window as long as the context is none.
  void attention_windows() {
    const bool off = fields_.value("use_sliding_window") == Json(false);
    const auto& window = fields_.value("sliding_window");
    if (!window.is_null() && !off &&
        !(window.is_number_integer() && window >= Json(model().block_size)))
      fields_.add_problem(cat("\"sliding_window\" is ", shown(window), ", of which we have none"));
    const auto& types = fields_.value("layer_types");
    const bool full = types.is_array() && std::ranges::all_of(types, [](const Json& type) {
                        return type == "full_attention";
                      });
    if (!types.is_null() && !full)
      fields_.add_problem("\"layer_types\" are others than \"full_attention\"");
  }

  void feed_forward() {
    auto& moe = model().moe;
    moe.router = RouterKind::topk;
    moe.activation = Activation::swiglu;
    switch (architecture_) {
      case Architecture::llama:
      case Architecture::qwen3:
        moe.num_experts = 0;
        moe.shared_experts = 1;
        moe.expert_width = fields_.count("intermediate_size", 1);
        return;
      case Architecture::mixtral:
      case Architecture::granite_moe:
      case Architecture::granite_moe_shared:
        return local_mixture();
      case Architecture::qwen2_moe:
      case Architecture::qwen3_moe:
        return qwen_mixture();
      case Architecture::glm4_moe:
      case Architecture::dots1:
        return sigmoid_mixture();
    }
  }

  void local_mixture() {
    auto& moe = model().moe;
    moe.num_experts = fields_.count("num_local_experts", 1);
    moe.top_k = fields_.count("num_experts_per_tok", 1);
    moe.expert_width = fields_.count("intermediate_size", 1);
    if (is(Architecture::granite_moe_shared)) shared_experts("shared_intermediate_size");
    if (!is(Architecture::mixtral)) attention_multiplier();
  }

  void attention_multiplier() {
    constexpr double kRounding = 1e-9;  // of decimals in a file
    const auto found = fields_.number("attention_multiplier");
    const auto is_root_of = [&](std::int64_t width) {
      return std::abs(found * std::sqrt(static_cast<double>(width)) - 1) < kRounding;
    };
    const auto width = model().n_embed, heads = std::max<std::int64_t>(1, model().n_head);
    if (is_root_of(width))
      model().attention_scale = AttentionScale::n_embed;
    else if (!is_root_of(width / heads))
      fields_.add_problem(cat("\"attention_multiplier\" is ", found,
                              ", of which we have hidden_size^-0.5 and head_dim^-0.5 alone"));
  }

  /// Ours are as wide as the chosen ones: theirs, which is one, is so many of ours.
  void shared_experts(const char* key) {
    auto& moe = model().moe;
    const auto width = fields_.count(key, 1);
    if (width < 1 || *moe.expert_width < 1) return;
    if (width % *moe.expert_width != 0)
      fields_.add_problem(cat("\"", key, "\" ", width, " is no multiple of the experts' width ",
                              *moe.expert_width));
    moe.shared_experts = width / *moe.expert_width;
  }

  void dense_layers(std::vector<std::int64_t> layers) {
    auto& moe = model().moe;
    moe.dense_layers = std::move(layers);
    if (!moe.dense_layers.empty())
      moe.dense_width = fields_.count("intermediate_size", 1);
    else
      fields_.pass_over("intermediate_size");
  }

  /// transformers 5 reads "num_experts" and writes "num_local_experts".
  std::int64_t qwen_experts() {
    const bool is_newer = !fields_.value("num_local_experts").is_null();
    return fields_.count(is_newer ? "num_local_experts" : "num_experts", 1);
  }

  void qwen_mixture() {
    auto& moe = model().moe;
    moe.num_experts = qwen_experts();
    moe.top_k = fields_.count("num_experts_per_tok", 1);
    moe.expert_width = fields_.count("moe_intermediate_size", 1);
    moe.gate = fields_.flag("norm_topk_prob", false) ? Gate::topk_softmax : Gate::softmax_topk;
    dense_layers(fields_.layers("mlp_only_layers"));
    if (!is(Architecture::qwen2_moe)) return;
    shared_experts("shared_expert_intermediate_size");
    moe.shared_gate = true;
  }

  void sigmoid_mixture() {
    auto& moe = model().moe;
    moe.num_experts = fields_.count("n_routed_experts", 2);
    moe.top_k = fields_.count("num_experts_per_tok", 1);
    moe.expert_width = fields_.count("moe_intermediate_size", 1);
    moe.shared_experts = fields_.count("n_shared_experts", 1);
    moe.gate = Gate::sigmoid;
    moe.gate_norm = fields_.flag("norm_topk_prob");
    moe.gate_scale = fields_.number("routed_scaling_factor");
    moe.balance = {{BalanceKind::loss_free}};
    const auto first = std::min<std::int64_t>(fields_.count("first_k_dense_replace", 0, 0), 512);
    std::vector<std::int64_t> dense(static_cast<std::size_t>(first));
    for (std::size_t layer = 0; layer < dense.size(); ++layer)
      dense[layer] = static_cast<std::int64_t>(layer);
    dense_layers(std::move(dense));
  }

  ConfigFields fields_;
  Architecture architecture_;
  FolderModel out_;
};

}  // namespace

FolderKeys read_folder_keys(const Json& json, Architecture architecture) {
  return FolderConfigReader(json, architecture).read();
}

}  // namespace moe
