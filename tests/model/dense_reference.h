#pragma once

#include <ATen/ATen.h>

#include <cmath>
#include <limits>
#include <map>
#include <stdexcept>
#include <string>
#include <vector>

#include "tests/support/tiny_model.h"

namespace moe::test {

// Shapes: N tokens, C n_embed, E num_experts, K top_k.

/// The mixture in plain words: every expert over every token, weighted by a matrix
/// of gates that is 0 where an expert was not chosen.
class DenseMixture {
 public:
  /// Takes copies of the weights of layer 0's mixture and its norm, as leaves of a graph of their
  /// own.
  explicit DenseMixture(Built& built)
      : model_(built.config),
        config_(built.config.moe),
        spec_(built.model->spec().layers[0].feed_forward) {
    for (const auto& tensor : built.flat.layout())
      if (tensor.name.starts_with(kLayer) || tensor.name.starts_with(kNorm) || tensor.name == kConv)
        weights_[tensor.name] = built.value(tensor.name).clone().set_requires_grad(true);
  }

  /// x (N, C), in windows of T -> (N, C): what the mixture reads.
  at::Tensor input(const at::Tensor& x, std::int64_t time) const {
    const auto normed = norm(x);
    if (!weights_.contains(kConv)) return normed;
    const auto& weight = weights_.at(kConv);
    std::vector<at::Tensor> rows;
    for (std::int64_t n = 0; n < x.size(0); ++n) {
      auto row = normed[n];
      for (std::int64_t lag = 0; lag < weight.size(1) && lag <= n % time; ++lag)
        row = row + weight.select(1, lag) * normed[n - lag];
      rows.push_back(row);
    }
    return at::stack(rows);
  }

  /// x (N, C) -> (N, C): the layer's norm before the mixture.
  at::Tensor norm(const at::Tensor& x) const {
    const auto weight = weights_.at(kNorm + std::string("weight"));
    if (model_.norm == NormKind::rms)
      return x / (x.square().mean(-1, /*keepdim=*/true) + kRmsEps).sqrt() * weight;
    const auto from_mean = x - x.mean(-1, /*keepdim=*/true);
    const auto variance = from_mean.square().mean(-1, /*keepdim=*/true);
    return from_mean / (variance + kEps).sqrt() * weight + weights_.at(kNorm + std::string("bias"));
  }

  /// x (N, C), noise (N, E) or undefined -> (N, E).
  at::Tensor logits(const at::Tensor& x, const at::Tensor& noise) const {
    if (config_.router == RouterKind::topk) return linear(x, "router.linear");
    const auto clean = linear(x, "router.topkroute_linear");
    if (!noise.defined()) return clean;
    return clean + noise * (1 + linear(x, "router.noise_linear").exp()).log();
  }

  /// (N, E), 0 but for the K largest logits of a row. Equal logits are not told apart.
  at::Tensor gates(const at::Tensor& logits) const {
    const auto larger = logits.unsqueeze(2).lt(logits.unsqueeze(1)).sum(2);  // (N, E)
    const auto chosen = larger.lt(config_.top_k);
    if (config_.gate == Gate::topk_softmax)
      return logits.masked_fill(chosen.logical_not(), -std::numeric_limits<double>::infinity())
          .softmax(-1);
    if (config_.gate == Gate::softmax_topk) return logits.softmax(-1) * chosen;
    const auto scores = logits.sigmoid() * chosen;
    return scores / scores.sum(-1, /*keepdim=*/true);
  }

  /// Gates of which each expert keeps its first `capacity` tokens.
  static at::Tensor cut(const at::Tensor& gates, std::int64_t capacity) {
    return gates * gates.gt(0).to(at::kLong).cumsum(0).le(capacity);
  }

  /// x (N, C), gates (N, E) -> (N, C).
  at::Tensor forward(const at::Tensor& x, const at::Tensor& gates) const {
    auto y = at::zeros_like(x);
    for (std::int64_t e = 0; e < spec_.experts; ++e)
      y = y + gates.narrow(1, e, 1) * answer(x, "experts." + std::to_string(e));
    auto shared = at::zeros_like(x);
    for (std::int64_t s = 0; s < spec_.shared; ++s)
      shared = shared + answer(x, "shared." + std::to_string(s));
    if (!spec_.shared_gate) return y + shared;
    const auto weight = weights_.at(kLayer + std::string("shared_gate.weight"));  // (1, C)
    return y + shared / (1 + (-(x * weight).sum(-1, /*keepdim=*/true)).exp());
  }

  /// By published name.
  const std::map<std::string, at::Tensor>& weights() const { return weights_; }

 private:
  static constexpr const char *kLayer = "blocks.0.smoe.", *kNorm = "blocks.0.ln2.",
                              *kConv = "blocks.0.smoe_conv.weight";
  static constexpr double kEps = 1e-5, kRmsEps = 1e-6;

  static at::Tensor silu(const at::Tensor& x) { return x / (1 + (-x).exp()); }

  /// (N, C) of one expert, by its name.
  at::Tensor answer(const at::Tensor& x, const std::string& expert) const {
    const auto net = expert + ".net.";
    if (config_.activation == Activation::swiglu)
      return linear(silu(linear(x, net + "gate")) * linear(x, net + "up"), net + "down");
    return linear(activate(linear(x, net + "0")), net + "2");
  }

  at::Tensor activate(const at::Tensor& x) const {
    switch (config_.activation) {
      case Activation::relu:
        return x.clamp_min(0);
      case Activation::gelu:
        return x * (1 + (x / std::sqrt(2.0)).erf()) / 2;
      case Activation::silu:
        return silu(x);
      case Activation::relu2:
        return x.clamp_min(0) * x.clamp_min(0);
      case Activation::swiglu:
        break;  // of two arguments
    }
    throw std::logic_error("an activation that the oracle lacks");
  }

  at::Tensor linear(const at::Tensor& x, const std::string& name) const {
    const auto product = x.matmul(weights_.at(kLayer + name + ".weight").t());
    return model_.bias ? product + weights_.at(kLayer + name + ".bias") : product;
  }

  ModelConfig model_;
  MoeConfig config_;
  FeedForwardSpec spec_;
  std::map<std::string, at::Tensor> weights_;
};

}  // namespace moe::test
