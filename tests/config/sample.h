#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "moe/base/json.h"
#include "moe/base/text.h"
#include "moe/config/config.h"
#include "tests/base/scratch.h"

namespace moe::test {

/// A sound config in which every key differs from its default.
inline RunConfig every_key_changed() {
  RunConfig c;
  c.seed = INT64_MAX;
  c.device = "cuda:1";
  c.threads = 3;
  c.deterministic = false;
  c.data = {TextNames(std::vector<std::string>{"/a/b.txt", "/a/*.md"}),
            "/a/\"c\" \u00e9.txt",
            "/x/ids",
            0.1 + 0.2,
            "bpe",
            65537,
            DataOrder::sequential};
  c.model.n_embed = 96;
  c.model.n_head = 6;
  c.model.n_layer = 3;
  c.model.block_size = 17;
  c.model.dropout = 1.0 / 3;
  c.model.dropouts = {0.25, 0.0, 0.5, 0.75};
  c.model.init = Init::small_normal;
  c.model.init_embedding_std = 0.125;
  c.model.init_zero_outputs = true;
  c.model.attention_scale = AttentionScale::n_embed;
  c.model.norm = NormKind::rms;
  c.model.positions = Positions::rotary;
  c.model.rotary_base = 512.5;
  c.model.qk_norm = QkNorm::head;
  c.model.qk_gain = 1.75;
  c.model.short_conv = 4;
  c.model.x0_shortcut = true;
  c.model.ngram = {{3, 2}, 7, 1000, 0.25};
  c.model.value_residual = true;
  c.model.bias = false;
  c.model.tied = true;
  c.model.kernels = Kernels::reference;
  c.model.moe = {5,
                 3,
                 RouterKind::topk,
                 Gate::sigmoid,
                 Activation::silu,
                 48,
                 true,
                 1.1,
                 false,
                 2.5,
                 {{BalanceKind::switch_loss, 0.02, 0.001, BalanceScope::sequence},
                  {BalanceKind::loss_free, 0.01, 0.002}},
                 0.003,
                 0.04,
                 0.05,
                 {2, 0},
                 7,
                 true,
                 {1},
                 80};
  c.optim.kind = OptimizerKind::muon;
  c.optim.learning_rate = 1.2345678901234567e-11;
  c.optim.betas = {0.1, 1 - 0x1p-19};
  c.optim.eps = 0x1p-59;
  c.optim.weight_decay = 999.99999999999989;
  c.optim.cautious_decay = true;
  c.optim.decay_schedule = DecaySchedule::linear;
  c.optim.grad_clip = 2.0 / 3;
  c.optim.schedule = {ScheduleKind::linear, 7, 1e-23, 0.3};
  c.optim.groups = {{0.5, 0.25}, {2, 0}, {3, 0.75}, {4, 0.5}, {5, 0.125}, {6, 1.5}, {7, 1.25}};
  c.optim.muon = {1e-7, 4.5, 0.75, MuonCoefficients::quintic, 3};
  c.optim.momentum_schedule = {0.625, 43};
  c.optim.average = {0.5, 47.5, 0.875};
  c.train = {11, 13, 19, 2, Precision::bfloat16, false, 23, 4, 29, 31, 37};
  c.eval = {EvalMode::random, 41, 9};
  c.tracking = {true, {"https://a.b:1/c", "d", "e \u00e9", MlflowArtifacts::best, 0.1}};
  return c;
}

/// The keys of a tree's leaves, "a.b.c", in their order.
inline void collect_leaves(const Json& tree, const std::string& path,
                           std::vector<std::string>& out) {
  for (const auto& item : tree.items()) {
    const auto here = path.empty() ? item.key() : path + "." + item.key();
    if (item.value().is_object())
      collect_leaves(item.value(), here, out);
    else
      out.push_back(here);
  }
}
inline std::vector<std::string> leaves(const Json& tree) {
  std::vector<std::string> out;
  collect_leaves(tree, "", out);
  return out;
}

/// The value at "a.b.c".
inline const Json& leaf(const Json& tree, const std::string& key) {
  const auto dot = key.find('.');
  if (dot == std::string::npos) return tree.at(key);
  return leaf(tree.at(key.substr(0, dot)), key.substr(dot + 1));
}

/// The keys in which two configs differ, by the rows themselves.
template <Section S>
void collect_unequal(const S& a, const S& b, const std::string& path,
                     std::vector<std::string>& out) {
  for_each_field<S>([&](const auto& row) {
    const auto& ours = a.*(row.member);
    const auto& theirs = b.*(row.member);
    const auto here = path.empty() ? std::string(row.key) : cat(path, ".", row.key);
    if constexpr (Section<std::remove_cvref_t<decltype(ours)>>)
      collect_unequal(ours, theirs, here, out);
    else if (ours != theirs)
      out.push_back(here);
  });
}
inline std::vector<std::string> unequal(const RunConfig& a, const RunConfig& b) {
  std::vector<std::string> out;
  collect_unequal(a, b, "", out);
  return out;
}

/// {"a": {"b": {"c": value}}}.
inline Json tree_with(const std::string& key, const Json& value) {
  Json out = Json::object();
  const auto dot = key.find('.');
  out[key.substr(0, dot)] =
      dot == std::string::npos ? value : tree_with(key.substr(dot + 1), value);
  return out;
}

/// The message of the configuration error that `action` throws, of whatever class; "" without one.
template <class Action>
std::string config_refusal(Action action) {
  try {
    action();
  } catch (const Error& error) {
    return error.kind() == ErrorKind::config ? error.what() : "of another kind";
  }
  return "";
}

}  // namespace moe::test
