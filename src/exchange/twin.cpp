#include "moe/exchange/twin.h"

#include <algorithm>
#include <array>
#include <cmath>

namespace moe {

namespace {

/// What a model may have of gates, by bits.
enum GateSet : unsigned { kNoGate = 0, kTopkSoftmax = 1, kSoftmaxTopk = 2, kSigmoid = 4 };
enum class SharedExperts { none, plain, gated };
enum class DenseLayers { none, first, any };

/// What one reader lets an architecture have.
struct Range {
  unsigned gates;
  DenseLayers dense;
  bool tied;
};

struct Row {
  Architecture architecture;
  ArchitectureNames names;
  bool mixture;
  QkNorm qk_norm;
  SharedExperts shared;
  bool choice_bias;  // loss-free balancing
  bool any_scale;    // of attention
  std::int64_t least_experts;
  Range transformers, llama_cpp;
};

constexpr auto kBothSoftmaxes = kTopkSoftmax | kSoftmaxTopk;

/// The first of those that are equally near is taken.
constexpr std::array<Row, 9> kRows{{
    {Architecture::mixtral,
     {"mixtral", "MixtralForCausalLM", "llama", true},
     true,
     QkNorm::none,
     SharedExperts::none,
     false,
     false,
     1,
     {kTopkSoftmax, DenseLayers::none, true},
     {kTopkSoftmax, DenseLayers::none, true}},
    // llama.cpp divides the gates by their sum, whatever the file says.
    {Architecture::qwen3_moe,
     {"qwen3_moe", "Qwen3MoeForCausalLM", "qwen3moe", false},
     true,
     QkNorm::head,
     SharedExperts::none,
     false,
     false,
     1,
     {kBothSoftmaxes, DenseLayers::any, true},
     {kTopkSoftmax, DenseLayers::none, true}},
    {Architecture::granite_moe,
     {"granitemoe", "GraniteMoeForCausalLM", "granitemoe", true},
     true,
     QkNorm::none,
     SharedExperts::none,
     false,
     true,
     1,
     {kTopkSoftmax, DenseLayers::none, true},
     {kTopkSoftmax, DenseLayers::none, true}},
    {Architecture::granite_moe_shared,
     {"granitemoeshared", "GraniteMoeSharedForCausalLM", "granitemoe", true},
     true,
     QkNorm::none,
     SharedExperts::plain,
     false,
     true,
     1,
     {kTopkSoftmax, DenseLayers::none, true},
     {kTopkSoftmax, DenseLayers::none, true}},
    {Architecture::qwen2_moe,
     {"qwen2_moe", "Qwen2MoeForCausalLM", "qwen2moe", false},
     true,
     QkNorm::none,
     SharedExperts::gated,
     false,
     false,
     1,
     {kBothSoftmaxes, DenseLayers::any, true},
     {kSoftmaxTopk, DenseLayers::none, false}},
    // Both choose a group by its two best experts.
    {Architecture::glm4_moe,
     {"glm4_moe", "Glm4MoeForCausalLM", "glm4moe", false},
     true,
     QkNorm::none,
     SharedExperts::plain,
     true,
     false,
     2,
     {kSigmoid, DenseLayers::first, true},
     {kSigmoid, DenseLayers::first, true}},
    {Architecture::dots1,
     {"dots1", "Dots1ForCausalLM", "dots1", false},
     true,
     QkNorm::head,
     SharedExperts::plain,
     true,
     false,
     2,
     {kSigmoid, DenseLayers::first, true},
     {kSigmoid, DenseLayers::first, false}},
    {Architecture::llama,
     {"llama", "LlamaForCausalLM", "llama", true},
     false,
     QkNorm::none,
     SharedExperts::plain,
     false,
     false,
     0,
     {kNoGate, DenseLayers::any, true},
     {kNoGate, DenseLayers::any, true}},
    {Architecture::qwen3,
     {"qwen3", "Qwen3ForCausalLM", "qwen3", false},
     false,
     QkNorm::head,
     SharedExperts::plain,
     false,
     false,
     0,
     {kNoGate, DenseLayers::any, true},
     {kNoGate, DenseLayers::any, true}},
}};

const Row& row_of(Architecture architecture) {
  return *std::ranges::find(kRows, architecture, &Row::architecture);
}

std::vector<std::int64_t> dense_layers_of(const ModelSpec& spec) {
  std::vector<std::int64_t> out;
  for (std::size_t layer = 0; layer < spec.layers.size(); ++layer)
    if (!spec.layers[layer].feed_forward.has_router())
      out.push_back(static_cast<std::int64_t>(layer));
  return out;
}

/// A layer with a mixture, or the first one where there is none.
const FeedForwardSpec& mixture_of(const ModelSpec& spec) {
  const auto has_router = [](const LayerSpec& layer) { return layer.feed_forward.has_router(); };
  const auto found = std::ranges::find_if(spec.layers, has_router);
  return (found != spec.layers.end() ? *found : spec.layers.front()).feed_forward;
}

SharedExperts shared_of(const FeedForwardSpec& spec) {
  if (spec.shared == 0) return SharedExperts::none;
  return spec.shared_gate ? SharedExperts::gated : SharedExperts::plain;
}

unsigned gate_of(const FeedForwardSpec& spec) {
  if (!spec.has_router()) return kNoGate;
  if (spec.gate == Gate::topk_softmax) return kTopkSoftmax;
  return spec.gate == Gate::softmax_topk ? kSoftmaxTopk : kSigmoid;
}

double usual_scale(const ModelSpec& spec) {
  return 1 / std::sqrt(static_cast<double>(spec.layers.front().attention.head_width));
}

/// What queries are to be multiplied by where the reader's scale is the usual one; nullopt if that
/// is no power of 2, with which weights keep all their bits.
std::optional<double> exact_factor(const ModelSpec& spec) {
  constexpr double kRounding = 1e-12;  // of two roots and a quotient; powers of 2 lie far apart
  const auto factor = spec.layers.front().attention.scale / usual_scale(spec);
  const auto power = std::exp2(std::round(std::log2(factor)));
  return std::abs(factor / power - 1) < kRounding ? std::optional(power) : std::nullopt;
}

using Keys = std::vector<std::string>;

void add_if(bool stands_in_the_way, const char* key, Keys& keys) {
  if (stands_in_the_way) keys.emplace_back(key);
}

/// What no architecture of the table has.
Keys general_obstacles(const ModelSpec& spec) {
  const auto& attention = spec.layers.front().attention;
  const auto& mixture = mixture_of(spec);
  const bool hashes = std::ranges::any_of(spec.layers, [](const LayerSpec& layer) {
    return layer.feed_forward.router == RouterKind::hash;
  });
  const bool all_hash = std::ranges::all_of(spec.layers, [](const LayerSpec& layer) {
    return layer.feed_forward.router == RouterKind::hash || !layer.feed_forward.has_router();
  });
  Keys keys;
  add_if(spec.norm.kind != NormKind::rms, "model.norm", keys);
  add_if(!attention.rotary_base, "model.positions", keys);
  add_if(mixture.activation != Activation::swiglu, "model.moe.activation", keys);
  add_if(spec.bias, "model.bias", keys);
  add_if(attention.short_conv > 0, "model.short_conv", keys);
  add_if(spec.x0_shortcut, "model.x0_shortcut", keys);
  add_if(!spec.ngrams.empty(), "model.ngram.orders", keys);
  add_if(spec.has_value_residual(), "model.value_residual", keys);
  add_if(hashes, all_hash ? "model.moe.router" : "model.moe.hash_layers", keys);
  add_if(mixture.router == RouterKind::noisy_topk && mixture.noise_in_eval,
         "model.moe.noise_in_eval", keys);
  return keys;
}

bool allows(DenseLayers allowed, const std::vector<std::int64_t>& layers) {
  if (allowed == DenseLayers::any || layers.empty()) return true;
  return allowed == DenseLayers::first && layers.back() + 1 == std::ssize(layers);
}

/// What this architecture lacks besides.
Keys obstacles_of(const Row& row, const ModelSpec& spec, Reader reader) {
  const auto& range = reader == Reader::transformers ? row.transformers : row.llama_cpp;
  const auto& mixture = mixture_of(spec);
  const auto& attention = spec.layers.front().attention;
  const auto shared = shared_of(mixture);
  Keys keys;
  add_if(row.mixture != mixture.has_router() || mixture.experts < row.least_experts,
         "model.moe.num_experts", keys);
  add_if(row.qk_norm != attention.qk_norm, "model.qk_norm", keys);
  add_if((shared == SharedExperts::none) != (row.shared == SharedExperts::none),
         "model.moe.shared_experts", keys);
  add_if((shared == SharedExperts::gated) != (row.shared == SharedExperts::gated) &&
             shared != SharedExperts::none,
         "model.moe.shared_gate", keys);
  if (row.mixture && mixture.has_router()) {
    add_if((gate_of(mixture) & range.gates) == 0, "model.moe.gate", keys);
    add_if(!row.choice_bias && mixture.balance.has_bias(), "model.moe.balance", keys);
    add_if(!allows(range.dense, dense_layers_of(spec)), "model.moe.dense_layers", keys);
  }
  add_if(!row.any_scale && !exact_factor(spec), "model.attention_scale", keys);
  add_if(!range.tied && spec.tied, "model.tied", keys);
  return keys;
}

Twin make_twin(const Row& row, const ModelSpec& spec) {
  const auto& mixture = mixture_of(spec);
  Twin twin{.architecture = row.architecture,
            .attention_scale = usual_scale(spec),
            .query_factor = 1,
            .experts = mixture.experts,
            .top_k = mixture.top_k,
            .expert_width = row.mixture ? mixture.width : 0,
            .shared_width = row.mixture ? mixture.shared * mixture.width : 0,
            .dense_layers = dense_layers_of(spec),
            .dense_width = 0};
  if (row.any_scale)
    twin.attention_scale = spec.layers.front().attention.scale;
  else
    twin.query_factor = *exact_factor(spec);
  if (!twin.dense_layers.empty()) {
    const auto layer = static_cast<std::size_t>(twin.dense_layers.front());
    const auto& dense = spec.layers[layer].feed_forward;
    twin.dense_width = dense.shared * dense.width;
  }
  return twin;
}

}  // namespace

const ArchitectureNames& names_of(Architecture architecture) { return row_of(architecture).names; }

TwinAnswer find_twin(const ModelSpec& spec, Reader reader) {
  const auto general = general_obstacles(spec);
  std::optional<Keys> fewest;
  for (const auto& row : kRows) {
    auto keys = obstacles_of(row, spec, reader);
    if (keys.empty() && general.empty()) return {make_twin(row, spec), {}};
    if (!fewest || keys.size() < fewest->size()) fewest = std::move(keys);
  }
  auto obstacles = general;
  obstacles.insert(obstacles.end(), fewest->begin(), fewest->end());
  return {std::nullopt, std::move(obstacles)};
}

}  // namespace moe
