#include "config/routing_rules.h"

#include <algorithm>

#include "moe/base/text.h"

namespace moe {

namespace {

std::string name_of(BalanceKind kind) {
  return std::string(EnumNames<BalanceKind>::names[static_cast<std::size_t>(kind)]);
}

/// The first key that is set though the element's kind does not read it; "" without one.
std::string unread_key(const BalanceConfig& element) {
  const BalanceConfig unset;
  if (element.kind == BalanceKind::loss_free && element.weight != unset.weight) return "weight";
  if (element.kind != BalanceKind::loss_free && element.rate != unset.rate) return "rate";
  if (element.kind != BalanceKind::switch_loss && element.scope != unset.scope) return "scope";
  return "";
}

void check_element(const MoeConfig& moe, std::size_t i, std::vector<std::string>& problems) {
  const auto& element = moe.balance[i];
  const auto where = cat("model.moe.balance[", i, "]");
  const auto same = [&](const BalanceConfig& other) {
    return other.kind == element.kind && other.scope == element.scope;
  };
  if (const auto key = unread_key(element); !key.empty())
    problems.push_back(
        cat(where, ".", key, ": ", name_of(element.kind), " does not read it; remove it"));
  const auto before = moe.balance.begin() + static_cast<std::ptrdiff_t>(i);
  if (std::any_of(moe.balance.begin(), before, same))
    problems.push_back(cat(where, ": ", name_of(element.kind),
                           " of this scope stands in the list twice; remove one"));
}

void check_load_estimator(const MoeConfig& moe, std::vector<std::string>& problems) {
  const auto refuse = [&](std::string_view why) {
    problems.push_back(cat("model.moe.balance: importance_load ", why));
  };
  if (moe.router != RouterKind::noisy_topk)
    refuse(
        "estimates loads by the router's noise; set model.moe.router to \"noisy_topk\", or take "
        "\"switch\"");
  if (moe.top_k >= moe.num_experts)
    refuse(cat("needs an expert that is not chosen, and model.moe.top_k is ", moe.top_k, " of ",
               moe.num_experts, "; lower model.moe.top_k"));
  if (has_balance_bias(moe))
    refuse(
        "supposes that the largest logits are chosen, and loss_free adds a bias; remove one of "
        "them");
}

void check_gate(const MoeConfig& moe, std::vector<std::string>& problems) {
  const bool is_sigmoid = moe.gate == Gate::sigmoid;
  if (!is_sigmoid && !moe.gate_norm)
    problems.push_back(
        "model.moe.gate_norm: false is for sigmoid gates; set model.moe.gate to \"sigmoid\", or, "
        "for "
        "softmax gates that are not divided by their sum, to \"softmax_topk\"");
  if (!is_sigmoid && moe.gate_scale != 1)
    problems.push_back(
        cat("model.moe.gate_scale: ", moe.gate_scale,
            " is for sigmoid gates; set model.moe.gate to \"sigmoid\", or this to 1"));
  if (moe.top_k > 1 || moe.num_experts == 1) return;
  if (moe.gate == Gate::topk_softmax)
    problems.push_back(
        "model.moe.top_k: with 1, a softmax over the chosen is always 1 and the router gets no "
        "gradient; set model.moe.gate to \"softmax_topk\" or raise model.moe.top_k");
  if (is_sigmoid && moe.gate_norm)
    problems.push_back(
        "model.moe.top_k: with 1, a gate over its own sum is always the same and the router gets "
        "no "
        "gradient; set model.moe.gate_norm to false or raise model.moe.top_k");
}

/// `key`: of a list of layers.
void check_layers(std::string_view key, const std::vector<std::int64_t>& layers, std::int64_t count,
                  std::vector<std::string>& problems) {
  for (auto layer = layers.begin(); layer != layers.end(); ++layer) {
    if (*layer >= count)
      problems.push_back(cat(key, ": there is no layer ", *layer, "; give 0 to ", count - 1));
    if (std::find(layers.begin(), layer, *layer) != layer)
      problems.push_back(cat(key, ": ", *layer, " stands in the list twice; remove one"));
  }
}

void check_hash(const ModelConfig& model, std::vector<std::string>& problems) {
  const auto& layers = model.moe.hash_layers;
  const bool hashes_all = model.moe.router == RouterKind::hash;
  if (hashes_all && !layers.empty())
    problems.push_back(
        "model.moe.hash_layers: model.moe.router is \"hash\" in all layers; remove the list");
  if (hashes_all && !model.moe.balance.empty())
    problems.push_back(
        "model.moe.balance: with model.moe.router \"hash\" no router chooses, so that nothing can "
        "be "
        "balanced; remove it, or list some layers in model.moe.hash_layers instead");
  check_layers("model.moe.hash_layers", layers, model.n_layer, problems);
}

void check_dense_layers(const ModelConfig& model, std::vector<std::string>& problems) {
  const auto& moe = model.moe;
  const auto& layers = moe.dense_layers;
  check_layers("model.moe.dense_layers", layers, model.n_layer, problems);
  for (const auto layer : layers)
    if (std::ranges::find(moe.hash_layers, layer) != moe.hash_layers.end())
      problems.push_back(cat("model.moe.dense_layers: layer ", layer,
                             " is in model.moe.hash_layers too, and has no router that could hash; "
                             "remove it from one of them"));
  if (moe.num_experts > 0 && static_cast<std::int64_t>(layers.size()) >= model.n_layer)
    problems.push_back(
        "model.moe.dense_layers: no layer is left for a mixture; for a dense model set "
        "model.moe.num_experts to 0 and model.moe.shared_experts to 1 instead");
  if (layers.empty() && moe.dense_width)
    problems.push_back(
        "model.moe.dense_width: no layer is dense; list some in model.moe.dense_layers, or set "
        "model.moe.expert_width");
}

/// Of a model without routers.
void check_dense_model(const MoeConfig& moe, std::vector<std::string>& problems) {
  if (moe.shared_experts == 0)
    problems.push_back(
        "model.moe.num_experts: 0 leaves a block without any MLP; for a dense model set "
        "model.moe.shared_experts to 1");
  const auto refuse = [&](std::string_view key, bool is_set) {
    if (is_set)
      problems.push_back(
          cat("model.moe.", key,
              ": with model.moe.num_experts 0 there is no router for it; remove it"));
  };
  refuse("balance", !moe.balance.empty());
  refuse("z_loss", moe.z_loss > 0);
  refuse("jitter", moe.jitter > 0);
  refuse("capacity_factor", moe.capacity_factor.has_value());
  refuse("hash_layers", !moe.hash_layers.empty());
  refuse("dense_layers", !moe.dense_layers.empty());
}

void check_shared(const MoeConfig& moe, std::vector<std::string>& problems) {
  if (moe.shared_gate && moe.shared_experts == 0)
    problems.push_back(
        "model.moe.shared_gate: there are no shared experts for it to weigh; set "
        "model.moe.shared_experts, or this to false");
}

}  // namespace

void check_routing(const ModelConfig& model, std::vector<std::string>& problems) {
  const auto& moe = model.moe;
  check_shared(moe, problems);
  check_dense_layers(model, problems);
  if (moe.num_experts == 0) return check_dense_model(moe, problems);
  check_gate(moe, problems);
  check_hash(model, problems);
  for (std::size_t i = 0; i < moe.balance.size(); ++i) check_element(moe, i, problems);
  const auto estimates = [](const BalanceConfig& element) {
    return element.kind == BalanceKind::importance_load;
  };
  if (std::ranges::any_of(moe.balance, estimates)) check_load_estimator(moe, problems);
}

}  // namespace moe
