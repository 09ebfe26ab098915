#pragma once

#include <ATen/core/Tensor.h>
#include <torch/nn/module.h>
#include <torch/nn/modules/linear.h>
#include <torch/nn/pimpl.h>

#include <cstdint>
#include <vector>

#include "moe/kernels/expert_mixture.h"
#include "moe/kernels/layers.h"
#include "moe/model/context.h"
#include "moe/spec/model_spec.h"

namespace moe {

// Shapes: N tokens, C width, E experts, K top_k, S shared experts, F width of an expert's hidden
// layer.

using kernels::Routing;

/// Gates (N, K) of the experts (N, K) that were chosen, from logits (N, E).
at::Tensor gates_of(const at::Tensor& logits, const at::Tensor& experts,
                    const FeedForwardSpec& spec);
/// The K chosen experts and their gates, from logits (N, E). The largest logits are chosen, or,
/// beside a bias (E), the largest sums of score and bias; of equal ones the first.
Routing route_by_logits(const at::Tensor& logits, const FeedForwardSpec& spec,
                        const at::Tensor& choice_bias = {});

/// (V, K) int32: K experts of each symbol, distinct in a row, the same in every run (Roller et al.
/// 2021, arXiv 2106.04426).
at::Tensor hash_experts(std::int64_t vocab, std::int64_t experts, std::int64_t top_k);

/// x -> logits -> the K largest (makeMoE's TopkRouter), or the gates of given experts (N, K).
class TopkRouterImpl : public torch::nn::Module {
 public:
  TopkRouterImpl(std::int64_t width, const FeedForwardSpec& spec);
  Routing forward(const at::Tensor& x, const at::Tensor& given = {});  // x (N, C)
  kernels::LinearParameters route() const { return {linear_->weight, linear_->bias}; }
  const at::Tensor& balance_bias() const { return balance_bias_; }
  at::Tensor& bias() { return linear_->bias; }

 private:
  FeedForwardSpec spec_;
  torch::nn::Linear linear_;
  at::Tensor balance_bias_;  // (E), moved by no gradient; undefined without loss-free balancing
};
TORCH_MODULE(TopkRouter);

/// Noisy top-k gate (Shazeer et al. 2017, arXiv 1701.06538, eq. 3-5).
class NoisyTopkRouterImpl : public torch::nn::Module {
 public:
  NoisyTopkRouterImpl(std::int64_t width, const FeedForwardSpec& spec);
  /// x (N, C); noise (N, E) standard normal, or undefined for none.
  Routing forward(const at::Tensor& x, const at::Tensor& noise);
  at::Tensor noise_std(const at::Tensor& x);  // (N, E)
  kernels::LinearParameters route() const {
    return {topkroute_linear_->weight, topkroute_linear_->bias};
  }
  kernels::LinearParameters noise() const { return {noise_linear_->weight, noise_linear_->bias}; }
  const at::Tensor& balance_bias() const { return balance_bias_; }
  at::Tensor& bias() { return topkroute_linear_->bias; }

 private:
  FeedForwardSpec spec_;
  torch::nn::Linear topkroute_linear_, noise_linear_;
  at::Tensor balance_bias_;  // as the TopkRouter's
};
TORCH_MODULE(NoisyTopkRouter);

/// (N, C) -> (N, C): Linear, activation, Linear over slices of its SparseMoE's stacked weights.
class ExpertImpl : public torch::nn::Module {
 public:
  ExpertImpl(kernels::ExpertWeights stacked, Activation activation, std::int64_t expert);
  at::Tensor forward(const at::Tensor& x);

 private:
  kernels::ExpertWeights stacked_;
  Activation activation_;
  std::int64_t expert_;
};
TORCH_MODULE(Expert);

/// What one mixture layer yields.
struct MoeOutput {
  at::Tensor y;                 // (B, T, C)
  at::Tensor load;              // (E) int64, tokens each expert served
  Routing routing = {};         // if the context keeps it
  kernels::SideLoss side = {};  // in training, if the spec asks for it
};

/// Where the tokens of one call go. The slots of a token are its K choices, then the S shared
/// experts, which are the last of E + S.
struct Dispatch {
  Routing routing;
  at::Tensor gates, experts;  // (N, K + S), the experts int64
  std::int64_t capacity;      // slots that an expert serves, the shared ones apart; -1: any number
  at::Tensor mask;            // (N, K + S, C) dropout of the experts' answers; undefined: none
};

/// Routes every token to its K experts and sums what they answer, weighted by the gates. Adds what
/// the shared experts answer to every token (Dai et al. 2024, arXiv 2401.06066), weighted, where
/// the spec says so, by one sigmoid of the token.
class SparseMoEImpl : public torch::nn::Module {
 public:
  SparseMoEImpl(const ModelSpec& spec, std::int64_t layer);
  MoeOutput forward(const at::Tensor& x, const ForwardContext& context);  // x (B, T, C)

  Dispatch dispatch(const at::Tensor& tokens, const ForwardContext& context);  // tokens (N, C)
  /// What the layer yields for x (B, T, C) whose experts answered y (N, C) and served `load` (E +
  /// S).
  MoeOutput output(const at::Tensor& x, const at::Tensor& y, const at::Tensor& load,
                   const Dispatch& dispatch, const ForwardContext& context);
  bool draws_noise(const ForwardContext& context) const;
  /// What the router adds to its logits (E); undefined for nothing. Another tensor may stand in for
  /// it for a while (ADR 50); the parameter itself stays as it is.
  /// Of a layer with a router alone.
  at::Tensor& route_bias() { return topk_ ? topk_->bias() : noisy_->bias(); }
  /// (N, C): what one expert answers to x (N, C), as it reads; from E on a shared one.
  at::Tensor answer(std::int64_t expert, const at::Tensor& x) {
    return experts_[static_cast<std::size_t>(expert)]->forward(x);
  }

  const FeedForwardSpec& spec() const { return spec_; }
  /// Of the E experts, then of the S shared ones.
  const kernels::ExpertWeights& weights() const { return weights_; }
  /// Weight (1, C) of the gate; undefined for none.
  kernels::LinearParameters shared_gate() const {
    return shared_gate_ ? kernels::LinearParameters{shared_gate_->weight, {}}
                        : kernels::LinearParameters{};
  }
  /// Undefined tensors without a router.
  kernels::LinearParameters route() const {
    return topk_ ? topk_->route() : noisy_ ? noisy_->route() : kernels::LinearParameters{};
  }
  /// Undefined tensors if the router has no noise.
  kernels::LinearParameters noise() const {
    return noisy_ ? noisy_->noise() : kernels::LinearParameters{};
  }
  /// (E), or undefined without loss-free balancing.
  const at::Tensor& balance_bias() const {
    static const at::Tensor none{};
    return topk_ ? topk_->balance_bias() : noisy_ ? noisy_->balance_bias() : none;
  }
  /// (V, K) int32 the experts of each symbol, or undefined: the router chooses.
  const at::Tensor& hashed() const { return hashed_; }

 private:
  Routing route(const at::Tensor& tokens, const ForwardContext& context);
  /// tokens (N, C) as the router sees them.
  at::Tensor router_input(const at::Tensor& tokens, const ForwardContext& context) const;
  at::Tensor noise_draws(const at::Tensor& like, const ForwardContext& context) const;
  /// (N, 1): what the answers of the shared experts are weighed by.
  at::Tensor shared_gates(const at::Tensor& tokens);
  at::Tensor answers_mask(const at::Tensor& tokens, const ForwardContext& context) const;

  FeedForwardSpec spec_;
  std::int64_t layer_;
  double dropout_;
  TopkRouter topk_{nullptr};
  NoisyTopkRouter noisy_{nullptr};
  at::Tensor hashed_;
  torch::nn::Linear shared_gate_{nullptr};
  kernels::ExpertWeights weights_;
  std::vector<Expert> experts_;
};
TORCH_MODULE(SparseMoE);

}  // namespace moe
